//! What requests and bytes cost, by the prices of the settings.
//!
//! An estimate: stores round, and charge for more than is counted here (transfer between regions, minimum durations of a class).

use crate::objects::{RequestKind, Usage};

/// Prices, in any currency. Zero for what costs nothing, or is not known.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PriceTable {
    /// The currency, as it is shown: `USD`.
    pub currency: String,
    /// Of 1,000 requests that send.
    pub put_per_1000: f64,
    /// Of 1,000 requests that fetch.
    pub get_per_1000: f64,
    /// Of 1,000 requests that ask what is known of an object.
    pub head_per_1000: f64,
    /// Of 1,000 listings.
    pub list_per_1000: f64,
    /// Of 1,000 deletes.
    pub delete_per_1000: f64,
    /// Of 10^9 bytes that are fetched.
    pub out_per_gb: f64,
    /// Of 10^9 bytes that are kept for a month.
    pub stored_per_gb_month: f64,
}

/// What something costs.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Bill {
    /// The currency.
    pub currency: String,
    /// Requests of each kind, in the order of [`RequestKind::ALL`].
    pub requests: [f64; 5],
    /// Bytes that were fetched.
    pub out: f64,
    /// What is kept, each month.
    pub stored_per_month: f64,
}

impl Bill {
    /// What was spent on requests and bytes; what is kept is not in it.
    #[must_use]
    pub fn spent(&self) -> f64 {
        self.requests.iter().sum::<f64>() + self.out
    }
}

impl PriceTable {
    /// What was asked of a store, and what it keeps, in money.
    #[must_use]
    pub fn bill(&self, usage: &[Usage], stored_bytes: u64) -> Bill {
        let mut bill = Bill { currency: self.currency.clone(), ..Bill::default() };
        for used in usage {
            let price = match used.kind {
                RequestKind::Put => self.put_per_1000,
                RequestKind::Get => self.get_per_1000,
                RequestKind::Head => self.head_per_1000,
                RequestKind::List => self.list_per_1000,
                RequestKind::Delete => self.delete_per_1000,
            };
            bill.requests[used.kind as usize] += price * used.requests as f64 / 1000.0;
            bill.out += self.out_per_gb * used.received_bytes as f64 / 1e9;
        }
        bill.stored_per_month = self.stored_per_gb_month * stored_bytes as f64 / 1e9;
        bill
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_bytes_become_money() {
        let table = PriceTable {
            currency: "USD".into(),
            put_per_1000: 0.005,
            get_per_1000: 0.0004,
            out_per_gb: 0.09,
            stored_per_gb_month: 0.023,
            ..PriceTable::default()
        };
        let usage = |kind, requests, received_bytes| Usage { kind, requests, failed: 0, sent_bytes: 0, received_bytes };
        let usage = [usage(RequestKind::Put, 2_000_000, 0), usage(RequestKind::Get, 10_000, 2_000_000_000)];
        let bill = table.bill(&usage, 100_000_000_000);
        let close = |one: f64, other: f64| (one - other).abs() < 1e-9;
        assert!(close(bill.requests[0], 10.0) && close(bill.requests[1], 0.004), "{bill:?}");
        assert!(close(bill.out, 0.18) && close(bill.stored_per_month, 2.3) && close(bill.spent(), 10.184), "{bill:?}");
        assert!(close(PriceTable::default().bill(&usage, 5).spent(), 0.0));
    }
}
