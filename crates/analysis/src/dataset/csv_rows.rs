//! Reads the rows of a `samples.csv`, one at a time.

use std::io::Read;
use std::str::FromStr;

use csv::StringRecord;

use crate::dataset::row::Row;
use crate::timings::Timings;

/// Reason for which samples could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// The file cannot be read, or a row is incomplete.
    #[error(transparent)]
    Csv(#[from] csv::Error),
    /// The header does not contain a column.
    #[error("column '{0}' is missing: the samples were written by another version")]
    MissingColumn(&'static str),
    /// The samples have more different operations than a dataset can number.
    #[error("more than 65,536 different operations")]
    TooManyOperations,
    /// A field has an unexpected value.
    #[error("line {line}: invalid {column} '{field}'")]
    InvalidField {
        /// Line in the file, from 1.
        line: u64,
        /// Name of the column.
        column: &'static str,
        /// Content of the field.
        field: String,
    },
}

/// A column that is used: its name and its position in the file.
#[derive(Clone, Copy)]
struct Column {
    name: &'static str,
    position: usize,
}

/// The columns that are used.
struct Header {
    run_id: Column,
    cell: Column,
    condition: Column,
    value: Column,
    repetition: Column,
    operation: Column,
    phase: Column,
    outcome: Column,
    latency_ms: Column,
    service_ms: Column,
    wait_ms: Column,
    connect_ms: Column,
    tls_ms: Column,
    tls_round_trips: Column,
    rtt_ms: Column,
    server_ms: Column,
    server_queue_ms: Column,
    server_database_ms: Column,
    tcp_rtt_ms: Column,
    tcp_min_rtt_ms: Column,
    server_tcp_rtt_ms: Column,
    tcp_retransmits: Column,
    server_tcp_retransmits: Column,
    response_bytes: Column,
}

impl Header {
    fn new(header: &StringRecord) -> Result<Self, DatasetError> {
        let column = |name: &'static str| {
            let position = header.iter().position(|column| column == name).ok_or(DatasetError::MissingColumn(name))?;
            Ok::<_, DatasetError>(Column { name, position })
        };
        Ok(Header {
            run_id: column("run_id")?,
            cell: column("cell")?,
            condition: column("condition")?,
            value: column("value")?,
            repetition: column("repetition")?,
            operation: column("operation")?,
            phase: column("phase")?,
            outcome: column("outcome")?,
            latency_ms: column("latency_ms")?,
            service_ms: column("service_ms")?,
            wait_ms: column("wait_ms")?,
            connect_ms: column("connect_ms")?,
            tls_ms: column("tls_ms")?,
            tls_round_trips: column("tls_round_trips")?,
            rtt_ms: column("rtt_ms")?,
            server_ms: column("server_ms")?,
            server_queue_ms: column("server_queue_ms")?,
            server_database_ms: column("server_database_ms")?,
            tcp_rtt_ms: column("tcp_rtt_ms")?,
            tcp_min_rtt_ms: column("tcp_min_rtt_ms")?,
            server_tcp_rtt_ms: column("server_tcp_rtt_ms")?,
            tcp_retransmits: column("tcp_retransmits")?,
            server_tcp_retransmits: column("server_tcp_retransmits")?,
            response_bytes: column("response_bytes")?,
        })
    }

    fn row<'a>(&self, record: &'a StringRecord) -> Result<Row<'a>, DatasetError> {
        let text = |column: Column| &record[column.position];
        let number = |column: Column| finite(record, column);
        let optional = |column: Column| optional(record, column, finite);
        Ok(Row {
            run_id: text(self.run_id),
            cell: text(self.cell),
            condition: text(self.condition),
            value: text(self.value),
            repetition: optional_of(record, self.repetition)?,
            operation: text(self.operation),
            phase: parse(record, self.phase)?,
            outcome: parse(record, self.outcome)?,
            timings: Timings {
                latency_ms: number(self.latency_ms)?,
                service_ms: number(self.service_ms)?,
                wait_ms: number(self.wait_ms)?,
                connect_ms: optional(self.connect_ms)?,
                tls_ms: optional(self.tls_ms)?,
                tls_round_trips: optional_of(record, self.tls_round_trips)?,
                rtt_ms: optional(self.rtt_ms)?,
                server_ms: optional(self.server_ms)?,
                server_queue_ms: optional(self.server_queue_ms)?,
                server_database_ms: optional(self.server_database_ms)?,
                tcp_rtt_ms: optional(self.tcp_rtt_ms)?,
                tcp_min_rtt_ms: optional(self.tcp_min_rtt_ms)?,
                server_tcp_rtt_ms: optional(self.server_tcp_rtt_ms)?,
                tcp_retransmits: optional_of(record, self.tcp_retransmits)?,
                server_tcp_retransmits: optional_of(record, self.server_tcp_retransmits)?,
                response_bytes: optional_of(record, self.response_bytes)?,
            },
        })
    }
}

/// Passes every row to `add`.
pub(super) fn read(csv: impl Read, mut add: impl FnMut(&Row) -> Result<(), DatasetError>) -> Result<(), DatasetError> {
    let mut reader = csv::ReaderBuilder::new().buffer_capacity(1 << 18).from_reader(csv);
    let header = Header::new(reader.headers()?)?;
    let mut record = StringRecord::new();
    while reader.read_record(&mut record)? {
        add(&header.row(&record)?)?;
    }
    Ok(())
}

fn parse<T: FromStr>(record: &StringRecord, column: Column) -> Result<T, DatasetError> {
    record[column.position].parse().map_err(|_| invalid(record, column))
}

/// Parses a number that must be finite: nothing else can be measured.
fn finite(record: &StringRecord, column: Column) -> Result<f64, DatasetError> {
    let number: f64 = parse(record, column)?;
    if number.is_finite() { Ok(number) } else { Err(invalid(record, column)) }
}

/// Returns `None` for an empty field.
fn optional<T>(
    record: &StringRecord,
    column: Column,
    parse: fn(&StringRecord, Column) -> Result<T, DatasetError>,
) -> Result<Option<T>, DatasetError> {
    if record[column.position].is_empty() { Ok(None) } else { parse(record, column).map(Some) }
}

fn optional_of<T: FromStr>(record: &StringRecord, column: Column) -> Result<Option<T>, DatasetError> {
    optional(record, column, parse)
}

fn invalid(record: &StringRecord, column: Column) -> DatasetError {
    let field = record[column.position].to_owned();
    DatasetError::InvalidField { line: record.position().map_or(0, csv::Position::line), column: column.name, field }
}
