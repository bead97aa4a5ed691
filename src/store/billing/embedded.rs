//! Plan histories, adjustments and invoices in sled.

use std::ops::Bound;

use sled::transaction::{
    ConflictableTransactionError, TransactionError, Transactional, TransactionalTree,
};

use super::{
    Adjustment, Adjustments, Assignment, Change, Choice, Document, History, Invoices, Step,
};
use crate::base::id::RecordId;
use crate::base::money::Money;
use crate::store::{Store, StoreError};

/// Between an account's id, or a month, and what follows in a key; none holds it.
const SEPARATOR: u8 = 0;

/// All three traits on the embedded store.
pub struct Book {
    store: Store,
    /// Account, [`SEPARATOR`], moment, sequence.
    plans: sled::Tree,
    /// By id.
    adjustments: sled::Tree,
    /// Account, [`SEPARATOR`], id of an adjustment.
    adjustments_by_account: sled::Tree,
    /// By account: what its deposits come to, less what was paid back.
    deposited: sled::Tree,
    /// By id.
    invoices: sled::Tree,
    /// Account, [`SEPARATOR`], id of an invoice.
    invoices_by_account: sled::Tree,
    /// Month, [`SEPARATOR`], id of an invoice.
    invoices_by_period: sled::Tree,
    /// The last number given out, by year.
    numbers: sled::Tree,
    /// Changes that are to be told, by the event's id.
    untold: sled::Tree,
}

type Aborted = ConflictableTransactionError<StoreError>;

impl Book {
    /// What `store` has of them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn new(store: &Store) -> Result<Self, StoreError> {
        let book = Self {
            plans: store.tree("plan_history")?,
            adjustments: store.tree("adjustments")?,
            adjustments_by_account: store.tree("adjustments_by_account")?,
            deposited: store.tree("deposited")?,
            invoices: store.tree("invoices")?,
            invoices_by_account: store.tree("invoices_by_account")?,
            invoices_by_period: store.tree("invoices_by_period")?,
            numbers: store.tree("invoice_numbers")?,
            untold: store.tree("invoices_untold")?,
            store: store.clone(),
        };
        book.index_periods()?;
        Ok(book)
    }

    /// Makes the index of months of a store that a version wrote to which keeps none:
    /// one from before there was one, or that was gone back to. Such a store's last
    /// invoice is not in it.
    fn index_periods(&self) -> Result<(), StoreError> {
        let Some((id, last)) = self.invoices.last()? else { return Ok(()) };
        // One that cannot be read is told of where it is asked for.
        let Ok(last) = read::<Document>(&last) else { return Ok(()) };
        if self.invoices_by_period.contains_key(key(&last.period, &id))? {
            return Ok(());
        }
        let mut index = sled::Batch::default();
        for entry in &self.invoices {
            let (id, document) = entry?;
            index.insert(key(&read::<Document>(&document)?.period, &id), &[]);
        }
        Ok(self.invoices_by_period.apply_batch(index)?)
    }

    /// The values of `tree` whose keys are after `after`; by an index those of one
    /// name, if one is given.
    fn values(
        tree: &sled::Tree,
        index: Option<(&sled::Tree, &str)>,
        after: Option<&str>,
    ) -> Box<dyn Iterator<Item = Result<sled::IVec, StoreError>>> {
        let Some((index, name)) = index else {
            let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.as_bytes()));
            let values = tree.range::<&[u8], _>((from, Bound::Unbounded)).values();
            return Box::new(values.map(|value| value.map_err(Into::into)));
        };
        let from = Bound::Excluded(key(name, after.unwrap_or_default().as_bytes()));
        let (skip, tree) = (name.len() + 1, tree.clone());
        let ids = index.range((from, Bound::Excluded(end(name)))).keys();
        Box::new(ids.filter_map(move |entry| {
            let found = entry.and_then(|entry| tree.get(entry.get(skip..).unwrap_or_default()));
            found.map_err(StoreError::from).transpose()
        }))
    }
}

impl History for Book {
    fn latest(&self, account: &str) -> Result<Option<Assignment>, StoreError> {
        let last = self.plans.range(key(account, b"")..end(account)).values().next_back();
        last.map(|bytes| read(&bytes?)).transpose()
    }

    fn append(&self, account: &str, assignment: &Assignment) -> Result<(), StoreError> {
        let Assignment { at, sequence, .. } = assignment;
        let place = [at.0.to_be_bytes(), sequence.to_be_bytes()].concat();
        self.plans.insert(key(account, &place), bytes(assignment)?)?;
        Ok(())
    }

    fn assignments(&self, account: &str) -> Result<Vec<Assignment>, StoreError> {
        let found = self.plans.range(key(account, b"")..end(account)).values();
        found.map(|bytes| read(&bytes?)).collect()
    }

    fn assigned(&self) -> Result<Vec<String>, StoreError> {
        let mut accounts = Vec::new();
        let mut from = Vec::new();
        // From each account to the next one, whatever lies between.
        while let Some(next) = self.plans.range(&*from..).keys().next() {
            let next = next?;
            let id = next.split(|byte| *byte == SEPARATOR).next().unwrap_or_default();
            let id = String::from_utf8_lossy(id).into_owned();
            from = end(&id);
            accounts.push(id);
        }
        Ok(accounts)
    }
}

impl Adjustments for Book {
    fn add_adjustment(&self, adjustment: &Adjustment) -> Result<(), StoreError> {
        let value = bytes(adjustment)?;
        let entry = key(&adjustment.account, adjustment.id.as_bytes());
        let paid_in = adjustment.paid_in();
        (&self.adjustments, &self.adjustments_by_account, &self.deposited)
            .transaction(|(adjustments, by_account, deposited)| {
                adjustments.insert(adjustment.id.as_bytes(), &*value)?;
                by_account.insert(&*entry, &[])?;
                if !paid_in.is_zero() {
                    let account = adjustment.account.as_bytes();
                    let before = deposited.get(account)?.map(|bytes| read::<Money>(&bytes));
                    let before = before.transpose().map_err(Aborted::Abort)?.unwrap_or_default();
                    let sum = bytes(&(before + paid_in)).map_err(Aborted::Abort)?;
                    deposited.insert(account, sum)?;
                }
                Ok::<_, Aborted>(())
            })
            .map_err(failed)?;
        self.store.flush()
    }

    fn deposited(&self, each: &mut dyn FnMut(&str, Money)) -> Result<(), StoreError> {
        for entry in &self.deposited {
            let (account, sum) = entry?;
            each(&String::from_utf8_lossy(&account), read(&sum)?);
        }
        Ok(())
    }

    fn adjustments(
        &self,
        account: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Adjustment>, StoreError> {
        let index = account.map(|account| (&self.adjustments_by_account, account));
        Self::values(&self.adjustments, index, after)
            .take(limit)
            .map(|bytes| read(&bytes?))
            .collect()
    }
}

impl Invoices for Book {
    fn change(
        &self,
        id: &str,
        step: &dyn Fn(Option<Document>) -> Step,
    ) -> Result<Option<Document>, StoreError> {
        let (by_account, by_period) = (&self.invoices_by_account, &self.invoices_by_period);
        let changed = (&self.invoices, by_account, by_period, &self.numbers, &self.untold)
            .transaction(|(invoices, by_account, by_period, numbers, untold)| {
                let kept = invoices.get(id)?.map(|bytes| read::<Document>(&bytes));
                let kept = kept.transpose().map_err(Aborted::Abort)?;
                let (document, event) = match step(kept.clone()) {
                    Step::Keep => return Ok(kept),
                    Step::Put(document, event) => (document, event),
                    Step::Number(year, event, make) => {
                        let made = make(&next_number(numbers, year)?);
                        let unwritten = || StoreError("an invoice cannot be written".to_owned());
                        (made.ok_or_else(|| Aborted::Abort(unwritten()))?, Some(event))
                    }
                };
                invoices.insert(id, bytes(&document).map_err(Aborted::Abort)?)?;
                by_account.insert(key(&document.account, id.as_bytes()), &[])?;
                by_period.insert(key(&document.period, id.as_bytes()), &[])?;
                if let Some(event) = event {
                    let change = Change { event, invoice: id.to_owned(), status: document.status };
                    let change = bytes(&change).map_err(Aborted::Abort)?;
                    untold.insert(event.0.as_bytes(), change)?;
                }
                Ok(Some(document))
            })
            .map_err(failed)?;
        Ok(changed)
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.store.flush()
    }

    fn untold(&self) -> Result<Vec<Change>, StoreError> {
        self.untold.iter().values().map(|bytes| read(&bytes?)).collect()
    }

    fn told(&self, event: RecordId) -> Result<(), StoreError> {
        self.untold.remove(event.0.as_bytes())?;
        Ok(())
    }

    fn invoice(&self, id: &str) -> Result<Option<Document>, StoreError> {
        self.invoices.get(id)?.map(|bytes| read(&bytes)).transpose()
    }

    fn invoices(
        &self,
        choice: &Choice,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        let index = match (&choice.account, &choice.period) {
            (Some(account), _) => Some((&self.invoices_by_account, &**account)),
            (None, Some(period)) => Some((&self.invoices_by_period, &**period)),
            (None, None) => None,
        };
        Self::values(&self.invoices, index, after)
            .map(|bytes| read::<Document>(&bytes?))
            .filter(|document| document.as_ref().map_or(true, |it| choice.holds(it)))
            .take(limit)
            .collect()
    }
}

/// The number after the last of its year, which is the last then.
fn next_number(numbers: &TransactionalTree, year: i16) -> Result<String, Aborted> {
    let name = format!("{year:04}");
    let last = numbers.get(&name)?;
    let last = match last.as_deref().map(<[u8; 8]>::try_from) {
        None => 0,
        Some(Ok(bytes)) => u64::from_be_bytes(bytes),
        Some(Err(_)) => {
            let message = format!("the last invoice number of {name} is damaged");
            return Err(Aborted::Abort(StoreError(message)));
        }
    };
    let next = last.saturating_add(1);
    numbers.insert(name.as_bytes(), &next.to_be_bytes())?;
    Ok(format!("{name}-{next:06}"))
}

fn key(name: &str, rest: &[u8]) -> Vec<u8> {
    [name.as_bytes(), &[SEPARATOR], rest].concat()
}

/// The first key after all of the name's.
fn end(name: &str) -> Vec<u8> {
    [name.as_bytes(), &[SEPARATOR + 1]].concat()
}

fn bytes<T: minicbor::Encode<()>>(record: &T) -> Result<Vec<u8>, StoreError> {
    minicbor::to_vec(record).map_err(|error| StoreError(error.to_string()))
}

fn read<T: for<'b> minicbor::Decode<'b, ()>>(bytes: &[u8]) -> Result<T, StoreError> {
    minicbor::decode(bytes).map_err(|error| StoreError(error.to_string()))
}

fn failed(error: TransactionError<StoreError>) -> StoreError {
    match error {
        TransactionError::Abort(error) => error,
        TransactionError::Storage(error) => error.into(),
    }
}
