//! Tables and JSON lines as databases write them, read as rows.

use super::*;

fn options(format: RowFormat) -> RowOptions {
    RowOptions {
        format,
        app_id: Some("wx1".to_owned()),
        columns: Vec::new(),
        ignore_others: false,
        utc_offset: 0,
    }
}

fn read(text: &[u8], options: &RowOptions) -> Vec<Row> {
    let mut rows = Rows::open(Box::new(text), options).unwrap();
    std::iter::from_fn(|| rows.next().unwrap()).collect()
}

fn error(row: &Row) -> (u64, Option<&'static str>, &str) {
    let error = row.read.as_ref().unwrap_err();
    (row.line, error.field, &error.message)
}

#[test]
fn a_table_is_read_with_its_lines() {
    let text = "\u{feff}id,openid,Phone,nickname,roles\r\n17,oA,13800138000,\"a, \"\"b\"\"\nc\",\"x, y\"\r\n18,,,,\r\n19,1\r\n";
    let rows = read(text.as_bytes(), &options(RowFormat::Csv));
    let first = rows[0].read.as_ref().unwrap();
    assert_eq!((rows[0].line, first.id.as_str()), (2, "17"));
    assert_eq!(first.openids, [("wx1".to_owned(), "oA".to_owned())]);
    assert_eq!(first.nickname.as_deref(), Some("a, \"b\"\nc"));
    assert_eq!(first.roles, ["x", "y"]);
    let second = rows[1].read.as_ref().unwrap();
    assert_eq!(
        (rows[1].line, second.phone.as_deref(), second.openids.len()),
        (4, None, 0)
    );
    assert_eq!(error(&rows[2]), (5, None, "has 2 columns in place of 5"));
    assert_eq!(rows.len(), 3);
}

#[test]
fn a_row_in_another_encoding_is_one_wrong_row() {
    let rows = read(
        b"id,nickname\n1,\xd0\xa1\xc3\xf7\n2,ok\n",
        &options(RowFormat::Csv),
    );
    assert_eq!(error(&rows[0]), (2, None, "is not UTF-8"));
    assert_eq!(rows[1].read.as_ref().unwrap().id, "2");
}

#[test]
fn what_mysql_prints_is_read() {
    let rows = read(
        b"id\topenid\tnickname\n17\tNULL\ta\\tb\\\\\"\n",
        &options(RowFormat::Tsv),
    );
    let row = rows[0].read.as_ref().unwrap();
    assert_eq!(
        (row.openids.len(), row.nickname.as_deref()),
        (0, Some("a\tb\\\""))
    );
}

/// Each way to write nothing in each format, and what is a text although it looks like one.
#[test]
fn nothing_is_nothing_in_every_format() {
    let header = "id,openid,unionid,phone,nickname,avatar_url,user_type,roles,created_at\n";
    for word in [
        "NULL", "null", "\\N", "", " ", "\"NULL\"", "\"\\N\"", "\"\"",
    ] {
        let text = format!("{header}17{}\n", format!(",{word}").repeat(8));
        for format in [RowFormat::Csv, RowFormat::MysqlCsv, RowFormat::Tsv] {
            let (text, is_quoted) = (
                text.replace(',', if format == RowFormat::Tsv { "\t" } else { "," }),
                word.contains('"'),
            );
            // A TSV has no quotation marks, and in MySQL's an escape between them is one.
            if is_quoted
                && (format == RowFormat::Tsv
                    || (format == RowFormat::MysqlCsv && word.contains('\\')))
            {
                continue;
            }
            let options = options(format);
            let mut rows = Rows::open(Box::new(text.as_bytes()), &options).unwrap();
            let row = rows.next().unwrap().unwrap().read.unwrap();
            let expected = ImportRow {
                id: "17".to_owned(),
                ..ImportRow::default()
            };
            let [row, expected] = [&row, &expected].map(|row| serde_json::to_value(row).unwrap());
            assert_eq!(row, expected, "{format:?} {word:?}");
            let counted = rows.null_words().summary().unwrap_or_default();
            let word = word.trim_matches('"').trim();
            let expected = if word.is_empty() {
                String::new()
            } else {
                format!("openid 1 {word}; unionid 1 {word}")
            };
            assert!(
                counted.starts_with(&expected) && counted.is_empty() == word.is_empty(),
                "{format:?} {word:?}: {counted}"
            );
        }
    }
    let rows = read(b"id\nNULL\n\\N\nnull\n", &options(RowFormat::Csv));
    assert!(
        rows.iter().all(|row| error(row).1 == Some("id")),
        "no user is called so"
    );
    let options = options(RowFormat::Ndjson);
    let text = br#"{"id":"1","openid":"NULL","unionid":"\\N","phone":null,"nickname":"null","avatar_url":""}
{"id":"NULL"}"#;
    let mut rows = Rows::open(Box::new(&text[..]), &options).unwrap();
    let row = rows.next().unwrap().unwrap().read.unwrap();
    assert_eq!(
        (row.openids.len(), row.unionid, row.nickname.as_deref()),
        (0, None, Some("null"))
    );
    assert_eq!(error(&rows.next().unwrap().unwrap()).1, Some("id"));
    assert_eq!(
        rows.null_words().summary().as_deref(),
        Some("id 1 NULL; openid 1 NULL; unionid 1 \\N")
    );
    // An escaped backslash of a TSV.
    let rows = read(b"id\tnickname\n17\t\\\\N\n", &self::options(RowFormat::Tsv));
    assert_eq!(
        rows[0].read.as_ref().unwrap().nickname.as_deref(),
        Some("\\N")
    );
}

#[test]
fn what_mysql_writes_into_a_file_is_read_where_it_is_asked_for_and_else_refused() {
    let text = "id,nickname,unionid\n\"1\",\"say \\\"hi\\\", 小明\",\\N\n\"2\",\"C:\\\\\",\\N\n";
    let rows = read(text.as_bytes(), &options(RowFormat::MysqlCsv));
    let names: Vec<_> = rows
        .iter()
        .map(|row| row.read.as_ref().unwrap().nickname.as_deref().unwrap())
        .collect();
    assert_eq!(names, ["say \"hi\", 小明", "C:\\"]);
    let options = options(RowFormat::Csv);
    let text = format!(
        "id,nickname,unionid\n0,ok,\n{}",
        text.split_once('\n').unwrap().1
    );
    let mut rows = Rows::open(Box::new(text.as_bytes()), &options).unwrap();
    assert_eq!(
        rows.next().unwrap().unwrap().read.unwrap().id,
        "0",
        "what stands before it is read"
    );
    let error = rows.next().unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 3: has \\\", as MySQL writes a quotation mark: say --format mysql-csv"
    );
}

#[test]
fn what_mongoexport_writes_is_read() {
    let mut options = options(RowFormat::Ndjson);
    options.columns = vec![
        (Field::Id, "_id".to_owned()),
        (Field::CreatedAt, "createdAt".to_owned()),
    ];
    options.ignore_others = true;
    let text = br#"{"_id":{"$oid":"65f0c0ffee00000000000017"},"phone":13800138000,"createdAt":{"$date":"2024-01-02T03:04:05.678Z"},"__v":0}

{"_id":"b","openids":[{"app_id":"wx2","openid":"oB"}],"roles":["a","b"],"openid":null}
["no"]"#;
    let rows = read(text, &options);
    let first = rows[0].read.as_ref().unwrap();
    assert_eq!(
        (first.id.as_str(), first.phone.as_deref()),
        ("65f0c0ffee00000000000017", Some("13800138000"))
    );
    assert_eq!(first.created_at, Some(1_704_164_645_678));
    let second = rows[1].read.as_ref().unwrap();
    assert_eq!(
        (rows[1].line, &second.openids, second.roles.len()),
        (3, &vec![("wx2".to_owned(), "oB".to_owned())], 2)
    );
    assert_eq!(error(&rows[2]).0, 4);
}

#[test]
fn a_header_has_to_name_fields() {
    for (header, message) in [
        ("openid\n", "no column id"),
        ("id,opened\n", "opened"),
        ("id,id\n", "two columns"),
        ("", "no"),
    ] {
        let options = options(RowFormat::Csv);
        let error = Rows::open(Box::new(header.as_bytes()), &options)
            .err()
            .unwrap();
        assert!(error.to_string().contains(message), "{header:?}: {error}");
    }
    let mut options = options(RowFormat::Csv);
    options.columns = vec![(Field::Id, "uid".to_owned())];
    options.ignore_others = true;
    let rows = read(b"id,uid\nold,17\n", &options);
    assert_eq!(
        rows[0].read.as_ref().unwrap().id,
        "17",
        "the column that was named, not its namesake"
    );
}

#[test]
fn a_row_without_end_takes_no_memory_without_end() {
    for (format, head) in [
        (RowFormat::Csv, "id\n\""),
        (RowFormat::Ndjson, "{\"id\":\""),
    ] {
        let options = options(format);
        let file = head.as_bytes().chain(io::repeat(b'x').take(1 << 30));
        let mut rows = Rows::open(Box::new(file), &options).unwrap();
        assert!(
            matches!(rows.next(), Err(RowsReadError::TooLong { .. })),
            "{format:?}"
        );
    }
}

#[test]
fn an_openid_needs_an_app() {
    let options = RowOptions {
        app_id: None,
        ..options(RowFormat::Csv)
    };
    let rows = read(b"id,openid\n1,oA\n2,\n", &options);
    assert_eq!(error(&rows[0]).1, Some("app_id"));
    assert!(rows[1].read.is_ok());
}
