#!/usr/bin/env python3
"""Writes what a package says about the crates inside the binary.

    notices.py TARGET FOLDER

FOLDER/THIRD-PARTY-LICENSES: the texts of all their licences, each once, with the crates that it
is about. FOLDER/kinesis-agent.cdx.json: a bill of materials in CycloneDX 1.6.

The crates are those that `cargo tree` resolves for TARGET without build and development
dependencies and macros, which are not in the binary. Texts come from the sources in cargo's
registry; a crate without one has the text of its licence from another crate.
The standard library of Rust is named, too. Nothing depends on the time or the machine.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import uuid
from datetime import datetime, timezone
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
TEXT_NAMES = re.compile(r"^(licen[cs]e|copying|copyright|notice|unlicense)", re.IGNORECASE)
# A crate that leaves the choice is used under the first of these that it offers.
PREFERRED = ["MIT", "Apache-2.0", "BSD-3-Clause", "ISC", "Zlib", "Unicode-3.0", "BSL-1.0", "CC0-1.0", "MIT-0"]


def cargo(*arguments):
    return subprocess.run(
        ["cargo", *arguments], cwd=REPOSITORY, check=True, capture_output=True, text=True
    ).stdout


def crates_in_binary(target):
    """The packages of `cargo metadata` that end up in the binary, by name and version."""
    lines = cargo(
        "tree", "--locked", "--offline", "--target", target, "--edges", "normal,no-proc-macro",
        "--prefix", "none", "--no-dedupe", "--format", "{p}",
    ).splitlines()
    wanted = {tuple(line.split()[:2]) for line in lines if line.strip()}
    metadata = json.loads(
        cargo("metadata", "--locked", "--offline", "--format-version", "1", "--filter-platform", target)
    )
    packages = {(p["name"], "v" + p["version"]): p for p in metadata["packages"]}
    missing = wanted - packages.keys()
    if missing:
        sys.exit(f"cargo tree names packages that cargo metadata does not: {sorted(missing)}")
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = metadata["resolve"]["root"]
    return sorted((packages[key] for key in wanted), key=lambda p: (p["name"], p["version"])), nodes, root


def texts_of(package):
    """The files of a crate that hold its licence, as (name, text)."""
    folder = Path(package["manifest_path"]).parent
    files = sorted(path for path in folder.iterdir() if path.is_file() and TEXT_NAMES.match(path.name))
    if package["license_file"]:
        named = folder / package["license_file"]
        files += [named] if named.is_file() and named not in files else []
    return [(path.name, path.read_text(encoding="utf-8", errors="replace").strip()) for path in files]


def same(text):
    """Texts that differ in white space alone are one."""
    return re.sub(r"\s+", " ", text)


def standard_text(licence, packages):
    """The text of a licence that is the same for every crate, from one that brings it."""
    if licence == "MIT":
        for package in packages:
            for _, text in texts_of(package):
                if "Permission is hereby granted, free of charge" in text and len(text) < 1200:
                    return "The MIT License\n\n" + text[text.index("Permission is hereby granted") :]
    if licence == "Apache-2.0":
        return (REPOSITORY / "LICENSE").read_text().strip()
    return None


def substitute(package, packages):
    """What stands for the text of a crate that brings none."""
    offered = re.split(r"\s+OR\s+|/", (package["license"] or "").replace("(", "").replace(")", ""))
    for licence in PREFERRED:
        text = standard_text(licence, packages) if licence in offered else None
        if text:
            return f"{licence}, (c) the authors of the crates, which bring no text of their own", text
    sys.exit(f"{package['name']} {package['version']} brings no licence text, and {package['license']} is unknown here")


def licences(packages):
    """One section for each text, with the crates that it is about."""
    sections = {}
    for package in packages:
        found = texts_of(package) or [substitute(package, packages)]
        for name, text in found:
            _, _, about = sections.setdefault(same(text), (name, text, []))
            about.append(f"{package['name']} {package['version']} ({package['license']})")
    parts = [
        "kinesis-agent contains the crates below and the standard library of Rust\n"
        "(MIT OR Apache-2.0, the Rust project's contributors). libsqlite3-sys contains SQLite,\n"
        "which its authors put into the public domain.\n"
    ]
    for name, text, about in sorted(sections.values(), key=lambda section: (-len(section[2]), section[2])):
        crates = "".join(f"  {crate}\n" for crate in sorted(set(about)))
        parts.append(f"{'=' * 78}\n{name}, for:\n{crates}{'-' * 78}\n\n{text}\n")
    return "\n".join(parts)


def checksums():
    """The SHA-256 of each crate's archive, as Cargo.lock has it."""
    text = (REPOSITORY / "Cargo.lock").read_text()
    pattern = r'name = "([^"]+)"\nversion = "([^"]+)"\nsource = "[^"]+"\nchecksum = "([0-9a-f]+)"'
    return {(name, version): checksum for name, version, checksum in re.findall(pattern, text)}


def reference(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package, hashes):
    entry = {
        "type": "library",
        "bom-ref": reference(package),
        "name": package["name"],
        "version": package["version"],
        "purl": reference(package),
        "licenses": [{"expression": re.sub(r"\s*/\s*", " OR ", package["license"])}],
    }
    if package["description"]:
        entry["description"] = " ".join(package["description"].split())
    checksum = hashes.get((package["name"], package["version"]))
    if checksum:
        entry["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if package["repository"]:
        entry["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return entry


def runtime_dependencies(node):
    return [d["pkg"] for d in node["deps"] if any(kind["kind"] is None for kind in d["dep_kinds"])]


def bill(packages, nodes, root, target):
    by_id = {package["id"]: package for package in packages}
    hashes = checksums()
    application = component(by_id[root], hashes) | {"type": "application"}
    libraries = [component(package, hashes) for package in packages if package["id"] != root]
    dependencies = [
        {
            "ref": reference(package),
            "dependsOn": sorted({reference(by_id[d]) for d in runtime_dependencies(nodes[package["id"]]) if d in by_id}),
        }
        for package in packages
    ]
    lock = hashlib.sha256((REPOSITORY / "Cargo.lock").read_bytes()).hexdigest()
    made = datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), timezone.utc)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        # Equal for equal content, as the specification allows for a bill that is made anew.
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'{reference(by_id[root])}/{target}/{lock}')}",
        "version": 1,
        "metadata": {
            "timestamp": made.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": application,
            "properties": [{"name": "cargo:target", "value": target}],
        },
        "components": libraries,
        "dependencies": dependencies,
    }


def main():
    target, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    packages, nodes, root = crates_in_binary(target)
    if len(packages) < 50:
        sys.exit(f"only {len(packages)} crates: cargo tree cannot have been understood")
    others = [package for package in packages if package["id"] != root]
    (folder / "THIRD-PARTY-LICENSES").write_text(licences(others), encoding="utf-8")
    text = json.dumps(bill(packages, nodes, root, target), indent=1, ensure_ascii=False)
    (folder / "kinesis-agent.cdx.json").write_text(text + "\n", encoding="utf-8")
    print(f"{len(others)} crates")


if __name__ == "__main__":
    main()
