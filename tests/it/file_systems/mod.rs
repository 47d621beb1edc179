//! File systems and files of all kinds: what is mounted where, when and over what, and files that
//! are no plain sequence of short lines of text which anybody may read.

/// Links: hard ones, loops, and the ones that Kubernetes makes.
mod links;
/// Overlays, tmpfs, bind mounts, mounts that come late and inodes that are given twice.
mod mounted;
/// What may stand in a file, what a file may be called, and what may take its place.
mod odd_files;
/// Rights that are taken away and given back.
mod permissions;
