//! Ids, chunker, tree nodes, canonical encoding and tree diff: pure, no I/O.
