//! Content-addressed store: packs, index, ingest, checkout, verify.
