//! Prints the records of a reader, whatever the format.

use crate::avro::codec::CodecError;
use crate::cli::export::Export;
use crate::cli::{Failure, OutputFormat, Stdout, write_json, write_raw};
use crate::log::LogOptions;
use crate::types::{CollectionName, Record, RecordKind};
use crate::vector::VectorRecord;
use crate::{Error, ErrorKind};

/// Prints records to stdout.
pub(super) struct Printer {
    stdout: Stdout,
    form: Form,
    buffer: Vec<u8>,
    passed_over: PassedOver,
}

/// Records that a format of vectors has no line for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PassedOver {
    /// Deletes: whoever appends the lines elsewhere has what was deleted.
    pub deletes: u64,
    /// Records with another payload, or with a vector that is none.
    pub others: u64,
}

enum Form {
    Json,
    Raw,
    Avro(Box<Export>),
    Vectors,
}

impl Printer {
    /// Begins to print records of `collection`; an Avro file begins with its header.
    pub fn begin(format: OutputFormat, collection: &CollectionName, options: &LogOptions) -> Result<Self, Failure> {
        let mut buffer = Vec::new();
        let form = match format {
            OutputFormat::Json => Form::Json,
            OutputFormat::Raw => Form::Raw,
            OutputFormat::Vectors => Form::Vectors,
            OutputFormat::Avro => {
                let shape = (options.codec, options.block_bytes);
                let export = Export::begin(collection, shape, options.clock.random(), &mut buffer);
                Form::Avro(Box::new(export.map_err(cannot_compress)?))
            }
        };
        Ok(Self { stdout: Stdout::lock(), form, buffer, passed_over: PassedOver::default() })
    }

    /// Prints one.
    pub fn print(&mut self, record: &Record) -> Result<(), Failure> {
        match &mut self.form {
            Form::Json => write_json(record, &mut self.buffer),
            Form::Raw => write_raw(record, &mut self.buffer),
            Form::Avro(export) => export.add(record, &mut self.buffer).map_err(cannot_compress)?,
            Form::Vectors => match VectorRecord::of_record(record) {
                Some(Ok(vector)) => {
                    self.buffer.extend_from_slice(vector.to_json().as_bytes());
                    self.buffer.push(b'\n');
                }
                _ if record.kind == RecordKind::Delete => self.passed_over.deletes += 1,
                _ => self.passed_over.others += 1,
            },
        }
        self.hand_over()
    }

    /// What was not printed, because it is no vector.
    pub const fn passed_over(&self) -> PassedOver {
        self.passed_over
    }

    /// Lets whoever reads have all that was printed.
    pub fn flush(&mut self) -> Result<(), Failure> {
        if let Form::Avro(export) = &mut self.form {
            export.end_block(&mut self.buffer).map_err(cannot_compress)?;
        }
        self.hand_over()?;
        Ok(self.stdout.flush()?)
    }

    fn hand_over(&mut self) -> Result<(), Failure> {
        self.stdout.write(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

fn cannot_compress(error: CodecError) -> Failure {
    Error::new(ErrorKind::Internal, "cannot write an avro file").with_source(error).into()
}
