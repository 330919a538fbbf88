//! Avro object container files.

/// SHA-256 of `bytes`. Behind one function, so that the implementation can be chosen by measurement.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut digest = [0; 32];
    digest.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
    digest
}
