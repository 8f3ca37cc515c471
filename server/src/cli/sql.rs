use std::{
    io::{Read, Write},
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, RecordBatch, StringBuilder},
    datatypes::{DataType, Field, Schema},
    error::ArrowError,
    util::{
        display::{ArrayFormatter, FormatOptions},
        pretty::pretty_format_batches,
    },
};
use arrow_flight::{error::FlightError, sql::client::FlightSqlServiceClient};
use clap::Args;
use futures::TryStreamExt;

use super::{Failure, client::ClientArgs, output::Format};
use crate::http::{encoder_factory, text_keys};

/// Rows that are drawn for a person.
const DRAWN: usize = 1000;

#[derive(Debug, Args)]
pub(super) struct Sql {
    /// The statement; `-` reads it from standard input
    statement: String,
}

impl Sql {
    pub(super) fn of(statement: String) -> Self {
        Self { statement }
    }

    pub(super) async fn run(self, client: &ClientArgs, format: Format) -> Result<(), Failure> {
        let statement = if self.statement == "-" {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text)?;
            text
        } else {
            self.statement
        };
        let mut flight = FlightSqlServiceClient::new(client.channel().await?);
        flight.set_token(client.token()?);
        let writes = mavis_sql::writes(&statement);
        let info = flight.execute(statement, None).await.map_err(flight_error)?;
        // The rows that were written; the answer's one row says the same.
        if writes {
            return told(info.total_records, format);
        }
        let mut sink = Sink::new(format);
        for endpoint in info.endpoint {
            let ticket = endpoint.ticket.ok_or_else(|| Failure::failed("the server answered without a ticket"))?;
            let mut batches = flight.do_get(ticket).await.map_err(flight_error)?;
            while let Some(batch) = batches.try_next().await.map_err(flight_error)? {
                if !sink.write(&batch)? {
                    return sink.finish();
                }
            }
            if let Some(schema) = batches.schema() {
                sink.empty(schema)?;
            }
        }
        sink.finish()
    }
}

/// What a statement that writes answers: a number of rows.
fn told(rows: i64, format: Format) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    match format {
        Format::Json => writeln!(out, "{{\"rows_affected\":{rows}}}")?,
        Format::Csv => writeln!(out, "rows_affected\n{rows}")?,
        Format::Table if rows == 1 => writeln!(out, "1 row")?,
        Format::Table => writeln!(out, "{rows} rows")?,
    }
    out.flush()?;
    Ok(())
}

/// Where rows go as they come.
struct Sink {
    format: Format,
    json: arrow::json::Writer<std::io::Stdout, arrow::json::writer::JsonArray>,
    csv: arrow::csv::Writer<std::io::Stdout>,
    drawn: Vec<RecordBatch>,
    rows: usize,
    cut: bool,
    seen: bool,
}

impl Sink {
    fn new(format: Format) -> Self {
        Self {
            format,
            json: arrow::json::WriterBuilder::new()
                .with_explicit_nulls(true)
                .with_encoder_factory(encoder_factory())
                .build(std::io::stdout()),
            csv: arrow::csv::WriterBuilder::new().with_header(true).build(std::io::stdout()),
            drawn: Vec::new(),
            rows: 0,
            cut: false,
            seen: false,
        }
    }

    /// Whether more rows are wanted.
    fn write(&mut self, batch: &RecordBatch) -> Result<bool, Failure> {
        self.seen = true;
        match self.format {
            Format::Json => self.json.write(&text_keys(batch).map_err(arrow)?).map_err(arrow)?,
            Format::Csv => self.csv.write(&flat(batch).map_err(arrow)?).map_err(arrow)?,
            Format::Table => {
                let rest = DRAWN - self.rows;
                self.cut = batch.num_rows() > rest;
                self.drawn.push(batch.slice(0, batch.num_rows().min(rest)));
            }
        }
        self.rows += batch.num_rows();
        Ok(!self.cut)
    }

    /// Tells the columns of an answer without rows.
    fn empty(&mut self, schema: &Arc<Schema>) -> Result<(), Failure> {
        if self.seen { Ok(()) } else { self.write(&RecordBatch::new_empty(schema.clone())).map(drop) }
    }

    fn finish(mut self) -> Result<(), Failure> {
        let mut out = std::io::stdout();
        match self.format {
            Format::Json => {
                self.json.finish().map_err(arrow)?;
                writeln!(out)?;
            }
            Format::Csv => {}
            Format::Table => {
                writeln!(out, "{}", pretty_format_batches(&self.drawn).map_err(arrow)?)?;
                if self.cut {
                    eprintln!("the first {DRAWN} rows; for all of them add --format csv or json");
                }
            }
        }
        out.flush()?;
        Ok(())
    }
}

/// Lists and structs as text, which is all that CSV can hold.
fn flat(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let options = FormatOptions::default();
    let mut fields = Vec::with_capacity(batch.num_columns());
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(batch.num_columns());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        if !field.data_type().is_nested() {
            fields.push(field.as_ref().clone());
            columns.push(column.clone());
            continue;
        }
        let formatter = ArrayFormatter::try_new(column.as_ref(), &options)?;
        let mut text = StringBuilder::new();
        for row in 0..column.len() {
            if column.is_null(row) {
                text.append_null();
            } else {
                text.append_value(formatter.value(row).try_to_string()?);
            }
        }
        fields.push(Field::new(field.name(), DataType::Utf8, true));
        columns.push(Arc::new(text.finish()));
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

/// The server's own words, which arrow's client wraps.
fn arrow(error: ArrowError) -> Failure {
    match error {
        ArrowError::ExternalError(inner) => match inner.downcast::<FlightError>() {
            Ok(error) => flight_error(*error),
            Err(inner) => match inner.downcast::<tonic::Status>() {
                Ok(status) => Failure::from(*status),
                Err(inner) => Failure::failed(inner.to_string()),
            },
        },
        other => Failure::failed(other.to_string()),
    }
}

fn flight_error(error: FlightError) -> Failure {
    match error {
        FlightError::Tonic(status) => Failure::from(*status),
        FlightError::Arrow(error) => arrow(error),
        other => Failure::failed(other.to_string()),
    }
}
