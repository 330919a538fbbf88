//! What only the files of the key-value engines can suffer.
