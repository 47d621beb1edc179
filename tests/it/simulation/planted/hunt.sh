#!/usr/bin/env bash
# Plants each bug of this folder in a copy of the sources, and shows how soon the simulation finds
# it, in the cases that pass without it. Fails if one is not found.
set -euo pipefail
cd "$(dirname "$0")/../../../.."
target=${CARGO_TARGET_DIR:-$PWD/target}
copy=$target/planted
each=${SECONDS_EACH:-60}
missed=0
for bug in tests/it/simulation/planted/*.patch; do
    rm -rf "$copy"
    mkdir -p "$copy"
    git ls-files -z | xargs -0 cp --parents -t "$copy"
    patch --quiet --strip=1 --directory="$copy" < "$bug"
    name=$(basename "$bug" .patch)
    cd "$copy"
    CARGO_TARGET_DIR=$target cargo test --quiet --test it --no-run
    began=$SECONDS
    if said=$(env SECONDS=$each SEED_FROM=1 CASES=170 EXACT=1 CARGO_TARGET_DIR=$target RUST_BACKTRACE=0 cargo test --quiet --test it \
        simulation::simulate -- --ignored --nocapture 2>&1); then
        echo "$name: NOT FOUND within $each s"
        missed=1
    else
        echo "$name: found after $((SECONDS - began)) s"
        grep -E '^(seeds from|seed )' <<< "$said" || { echo "$said"; missed=1; }
    fi
    cd - > /dev/null
done
rm -rf "$copy"
exit $missed
