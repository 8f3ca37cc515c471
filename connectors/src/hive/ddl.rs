//! Hive's `CREATE TABLE`, as people wrote it, as `SHOW CREATE TABLE` prints it and as Spark writes it: names, types,
//! comments, partitions, format and location. Everything else is passed over.

use arrow::datatypes::{DataType, TimeUnit};

/// A table as its statement declares it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct HiveTable {
    pub(super) database: Option<String>,
    pub(super) name: String,
    /// The columns of the files, then those of the folders.
    pub(super) columns: Vec<HiveColumn>,
    pub(super) comment: Option<String>,
    /// The word after `STORED AS` or `USING`, or what the input format's class says; lower case.
    pub(super) format: Option<String>,
    pub(super) location: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct HiveColumn {
    pub(super) name: String,
    /// As written.
    pub(super) hive_type: String,
    pub(super) comment: Option<String>,
}

impl HiveColumn {
    /// The type of a scalar; `None` for lists, maps and structs, which are as the files have them.
    pub(super) fn data_type(&self) -> Option<DataType> {
        let text = self.hive_type.to_ascii_lowercase();
        let (word, arguments) = match text.split_once('(') {
            Some((word, rest)) => (word.trim(), rest.trim_end_matches(')')),
            None => (text.trim(), ""),
        };
        Some(match word {
            "boolean" => DataType::Boolean,
            "tinyint" | "byte" => DataType::Int8,
            "smallint" | "short" => DataType::Int16,
            "int" | "integer" => DataType::Int32,
            "bigint" | "long" => DataType::Int64,
            "float" | "real" => DataType::Float32,
            "double" | "double precision" => DataType::Float64,
            "string" | "varchar" | "char" => DataType::Utf8,
            "date" => DataType::Date32,
            "timestamp" | "timestamp_ntz" => DataType::Timestamp(TimeUnit::Microsecond, None),
            "binary" => DataType::Binary,
            "decimal" | "numeric" | "dec" => {
                let mut numbers = arguments.split(',').map(str::trim).filter(|text| !text.is_empty());
                let precision = numbers.next().map_or(Some(10), |text| text.parse().ok())?;
                let scale = numbers.next().map_or(Some(0), |text| text.parse().ok())?;
                ((1..=38).contains(&precision) && (0..=38).contains(&scale))
                    .then_some(DataType::Decimal128(precision, scale))?
            }
            _ => return None,
        })
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    /// A name or a keyword.
    Word(String),
    /// A name in backticks.
    Name(String),
    Text(String),
    Sign(char),
}

impl Token {
    fn is(&self, word: &str) -> bool {
        matches!(self, Token::Word(text) if text.eq_ignore_ascii_case(word))
    }

    fn name(&self) -> Option<String> {
        match self {
            Token::Word(text) | Token::Name(text) => Some(text.clone()),
            _ => None,
        }
    }
}

/// The tables that statements declare; the error says which one cannot be read.
pub(super) fn parse(text: &str) -> Result<Vec<HiveTable>, String> {
    let tokens = tokens(text);
    let (mut tables, mut database, mut at) = (Vec::new(), None, 0);
    while at < tokens.len() {
        let is_start = at == 0 || tokens[at - 1] == Token::Sign(';') || tokens[at].is("create");
        if is_start && tokens[at].is("use") {
            database = tokens.get(at + 1).and_then(Token::name);
        }
        let mut next = at + 1;
        if is_start && tokens[at].is("create") {
            while tokens.get(next).is_some_and(|token| token.is("external") || token.is("managed")) {
                next += 1;
            }
            if tokens.get(next).is_some_and(|token| token.is("table")) {
                let mut reader = Reader { tokens: &tokens, at: next + 1 };
                let mut table = reader.table()?;
                table.database = table.database.or_else(|| database.clone());
                tables.push(table);
                next = reader.at;
            }
        }
        at = next;
    }
    Ok(tables)
}

fn tokens(text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut rest = text.trim_start_matches('\u{feff}').chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            c if c.is_whitespace() => {}
            '-' if rest.peek() == Some(&'-') => while rest.next().is_some_and(|c| c != '\n') {},
            '/' if rest.peek() == Some(&'*') => {
                let mut last = ' ';
                for c in rest.by_ref().skip(1) {
                    if last == '*' && c == '/' {
                        break;
                    }
                    last = c;
                }
            }
            '`' => {
                let mut name = String::new();
                while let Some(c) = rest.next() {
                    if c == '`' && rest.peek() != Some(&'`') {
                        break;
                    }
                    if c == '`' {
                        rest.next();
                    }
                    name.push(c);
                }
                found.push(Token::Name(name));
            }
            '\'' | '"' => {
                let mut text = String::new();
                while let Some(inner) = rest.next() {
                    match inner {
                        '\\' => match rest.next() {
                            Some('n') => text.push('\n'),
                            Some('t') => text.push('\t'),
                            Some(other) => text.push(other),
                            None => break,
                        },
                        inner if inner == c => break,
                        inner => text.push(inner),
                    }
                }
                found.push(Token::Text(text));
            }
            c if c.is_alphanumeric() || c == '_' || c == '$' => {
                let mut word = String::from(c);
                while let Some(c) = rest.next_if(|c| c.is_alphanumeric() || matches!(c, '_' | '$')) {
                    word.push(c);
                }
                found.push(Token::Word(word));
            }
            other => found.push(Token::Sign(other)),
        }
    }
    found
}

struct Reader<'a> {
    tokens: &'a [Token],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn take(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn takes(&mut self, word: &str) -> bool {
        let found = self.peek().is_some_and(|token| token.is(word));
        self.at += usize::from(found);
        found
    }

    fn takes_sign(&mut self, sign: char) -> bool {
        let found = self.peek() == Some(&Token::Sign(sign));
        self.at += usize::from(found);
        found
    }

    fn text(&mut self) -> Option<String> {
        match self.peek() {
            Some(Token::Text(text)) => {
                let text = text.clone();
                self.at += 1;
                Some(text)
            }
            _ => None,
        }
    }

    fn table(&mut self) -> Result<HiveTable, String> {
        if self.takes("if") {
            self.at += 2;
        }
        let mut names = vec![self.take().and_then(|token| token.name()).ok_or("a CREATE TABLE has no name")?];
        while self.takes_sign('.') {
            names.push(self.take().and_then(|token| token.name()).ok_or("a CREATE TABLE has no name")?);
        }
        // `database.table` may stand in one pair of backticks.
        if let [only] = names.as_slice()
            && let Some((database, name)) = only.split_once('.')
        {
            names = vec![database.to_owned(), name.to_owned()];
        }
        let name = names.pop().unwrap_or_default();
        let mut table = HiveTable { database: names.pop(), name, ..HiveTable::default() };
        if self.takes_sign('(') {
            table.columns = self.columns(&table.name)?;
        }
        self.rest(&mut table)?;
        Ok(table)
    }

    /// The clauses after the columns, up to the statement's end.
    fn rest(&mut self, table: &mut HiveTable) -> Result<(), String> {
        while let Some(token) = self.peek().cloned() {
            if token == Token::Sign(';') || token.is("create") {
                return Ok(());
            }
            self.at += 1;
            if token.is("comment") {
                table.comment = self.text().filter(|text| !text.is_empty());
            } else if token.is("location") {
                table.location = self.text();
            } else if token.is("using") {
                table.format = self.take().and_then(|token| token.name()).map(|word| word.to_ascii_lowercase());
            } else if token.is("partitioned") && self.takes("by") && self.takes_sign('(') {
                for column in self.columns(&table.name)? {
                    // Spark names columns again that it has declared with the others.
                    let known = table.columns.iter().any(|known| known.name.eq_ignore_ascii_case(&column.name));
                    if !known {
                        table.columns.push(column);
                    }
                }
            } else if token.is("stored") && self.takes("as") {
                if self.takes("inputformat") {
                    table.format = self.text().map(|class| of_class(&class));
                } else {
                    table.format = self.take().and_then(|token| token.name()).map(|word| word.to_ascii_lowercase());
                }
            } else if token == Token::Sign('(') {
                self.skip();
            }
        }
        Ok(())
    }

    /// Passes over what stands in brackets.
    fn skip(&mut self) {
        let mut depth = 1;
        while depth > 0
            && let Some(token) = self.take()
        {
            match token {
                Token::Sign('(') => depth += 1,
                Token::Sign(')') => depth -= 1,
                _ => {}
            }
        }
    }

    /// Columns up to the closing bracket; constraints among them are passed over.
    fn columns(&mut self, table: &str) -> Result<Vec<HiveColumn>, String> {
        let mut columns = Vec::new();
        loop {
            if self.takes_sign(')') {
                return Ok(columns);
            }
            let open = || format!("the columns of `{table}` do not end");
            let first = self.take().ok_or_else(open)?;
            let name = first.name().ok_or_else(|| format!("a column of `{table}` has no name"))?;
            let is_constraint = ["constraint", "primary", "foreign", "unique"].iter().any(|word| first.is(word));
            let hive_type = self.hive_type();
            let mut comment = None;
            loop {
                match self.peek() {
                    None => return Err(open()),
                    Some(Token::Sign(',')) => {
                        self.at += 1;
                        break;
                    }
                    Some(Token::Sign(')')) => break,
                    Some(token) if token.is("comment") => {
                        self.at += 1;
                        comment = self.text().filter(|text| !text.is_empty());
                    }
                    Some(Token::Sign('(')) => {
                        self.at += 1;
                        self.skip();
                    }
                    Some(_) => self.at += 1,
                }
            }
            if !is_constraint {
                columns.push(HiveColumn { name, hive_type, comment });
            }
        }
    }

    /// A type with its arguments: `decimal(10,2)`, `array<struct<a:int>>`.
    fn hive_type(&mut self) -> String {
        let mut text = String::new();
        let mut depth = 0_usize;
        while let Some(token) = self.peek() {
            match token {
                Token::Sign(sign @ ('<' | '(')) => {
                    depth += 1;
                    text.push(*sign);
                }
                Token::Sign(sign @ ('>' | ')')) if depth > 0 => {
                    depth -= 1;
                    text.push(*sign);
                }
                Token::Sign(sign) if depth > 0 => text.push(*sign),
                Token::Word(word) | Token::Name(word) if depth > 0 || text.is_empty() => text.push_str(word),
                Token::Word(word) if text.eq_ignore_ascii_case("double") && word.eq_ignore_ascii_case("precision") => {}
                _ => return text,
            }
            self.at += 1;
        }
        text
    }
}

/// The format that the name of an input format's class says.
fn of_class(class: &str) -> String {
    let lower = class.to_ascii_lowercase();
    let known = ["parquet", "orc", "avro", "sequencefile", "text"].into_iter().find(|word| lower.contains(word));
    match known {
        Some("text") => "textfile".to_owned(),
        Some(word) => word.to_owned(),
        None => class.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const SHOWN: &str = r"
        USE mavis_test;
        -- patients of the hospital
        CREATE EXTERNAL TABLE IF NOT EXISTS `hms_patient`(
          `patient_id` bigint COMMENT 'the hospital\'s number',
          `Birth_Date` date,
          `weight` decimal(5,2) COMMENT '',
          `contacts` array<struct<kind:string,value:varchar(20)>>,
          CONSTRAINT pk PRIMARY KEY (`patient_id`) DISABLE NOVALIDATE)
        COMMENT 'patients'
        PARTITIONED BY (`year` int COMMENT 'of admission', `site` string)
        CLUSTERED BY (patient_id) INTO 4 BUCKETS
        ROW FORMAT SERDE 'org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe'
        STORED AS INPUTFORMAT 'org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat'
          OUTPUTFORMAT 'x'
        LOCATION 'hdfs://nn:8020/datalake/raw/HMS/hms_patient'
        TBLPROPERTIES ('transient_lastDdlTime'='1')
        CREATE TABLE other.stays (id INT, d DOUBLE PRECISION, day DATE) USING parquet PARTITIONED BY (day) LOCATION '/x';
        DROP TABLE a; CREATE VIEW v AS SELECT 1";

    #[test]
    fn names_types_comments_partitions_and_places_are_read() {
        let tables = parse(SHOWN).unwrap();
        let [patients, stays] = tables.as_slice() else { panic!("{tables:?}") };
        assert_eq!((patients.database.as_deref(), patients.name.as_str()), (Some("mavis_test"), "hms_patient"));
        assert_eq!(patients.comment.as_deref(), Some("patients"));
        assert_eq!(patients.format.as_deref(), Some("parquet"));
        assert_eq!(patients.location.as_deref(), Some("hdfs://nn:8020/datalake/raw/HMS/hms_patient"));
        let columns: Vec<(&str, &str, Option<&str>)> =
            patients.columns.iter().map(|c| (c.name.as_str(), c.hive_type.as_str(), c.comment.as_deref())).collect();
        assert_eq!(
            columns,
            [
                ("patient_id", "bigint", Some("the hospital's number")),
                ("Birth_Date", "date", None),
                ("weight", "decimal(5,2)", None),
                ("contacts", "array<struct<kind:string,value:varchar(20)>>", None),
                ("year", "int", Some("of admission")),
                ("site", "string", None),
            ]
        );
        assert_eq!((stays.database.as_deref(), stays.format.as_deref()), (Some("other"), Some("parquet")));
        assert_eq!(stays.columns.len(), 3, "{stays:?}");
    }

    #[rstest]
    #[case("decimal(5,2)", Some(DataType::Decimal128(5, 2)))]
    #[case("decimal", Some(DataType::Decimal128(10, 0)))]
    #[case("VARCHAR(20)", Some(DataType::Utf8))]
    #[case("timestamp", Some(DataType::Timestamp(TimeUnit::Microsecond, None)))]
    #[case("array<int>", None)]
    #[case("decimal(50,2)", None)]
    fn hives_types_are_ours(#[case] hive: &str, #[case] wanted: Option<DataType>) {
        let column = HiveColumn { name: "c".to_owned(), hive_type: hive.to_owned(), comment: None };
        assert_eq!(column.data_type(), wanted);
    }

    #[rstest]
    #[case("CREATE TABLE t (a int, b", "the columns of `t` do not end")]
    #[case("CREATE TABLE (a int)", "has no name")]
    fn a_statement_that_is_cut_is_told(#[case] text: &str, #[case] part: &str) {
        assert!(parse(text).unwrap_err().contains(part));
    }
}
