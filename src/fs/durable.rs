//! Durability rituals.
