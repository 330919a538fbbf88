//! Losses and gaps: sequences that are missing, and the operators who took note of it.

use super::Log;
use crate::catalog::{CatalogError, LossRow, Mutation};
use crate::error::{Error, ErrorKind, Result};
use crate::types::{CollectionName, Sequence};

impl Log {
    /// Every loss, and every gap, in order of collection and sequence.
    ///
    /// # Errors
    /// What the catalog said.
    pub fn losses(&self) -> Result<Vec<LossRow>> {
        Ok(self.0.catalog.losses(None)?)
    }

    /// Takes note of a loss, by the name of whoever does, so that it counts as a known gap from now on. The range must
    /// be exactly that of a loss on record.
    ///
    /// # Errors
    /// `NotFound` where no such loss is on record, `Conflict` where it was acknowledged before, `Invalid` for a log that
    /// was opened to read only, or what the catalog said.
    pub fn acknowledge_loss(
        &self,
        collection: &CollectionName,
        first: Sequence,
        last: Sequence,
        by: &str,
    ) -> Result<()> {
        if !self.0.is_writable() {
            return Err(super::append::read_only());
        }
        let collection = collection.clone();
        let known = self.0.catalog.losses(Some(&collection))?;
        if !known.iter().any(|loss| (loss.first, loss.last) == (first, last)) {
            let message = format!("no such loss on record: collection=`{collection}`, first=`{first}`, last=`{last}`");
            return Err(Error::new(ErrorKind::NotFound, message).with_hint("`gap ls` shows each as it must be given"));
        }
        let mutation = Mutation::AcknowledgeLoss { collection, first, last, by: by.to_owned() };
        match self.0.catalog.apply(&[mutation], self.0.clock.now(), "acknowledged") {
            Ok(number) => {
                self.0.change_number.fetch_max(number.0, std::sync::atomic::Ordering::AcqRel);
                Ok(())
            }
            Err(CatalogError::Refused(refused)) => Err(Error::new(ErrorKind::Conflict, refused.to_string())),
            Err(error) => Err(error.into()),
        }
    }
}
