use super::{Level, chain, json, levels, printable, table, word, yaml};

fn cells(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|c| (*c).to_owned()).collect()
}

#[test]
fn columns_are_aligned_and_lines_end_where_the_text_ends() {
    let text = table(
        &["POD", "TO"],
        [cells(&["a", "300m"]), cells(&["shop/web-0", ""])],
    );
    assert_eq!(text, "POD          TO\na            300m\nshop/web-0\n");
}

#[test]
fn levels_stand_before_the_columns_and_are_coloured_on_demand() {
    let rows = || {
        [
            (Level::Ok, cells(&["a"])),
            (Level::Warn, cells(&["b"])),
            (Level::Fail, cells(&["c"])),
        ]
    };
    assert_eq!(
        levels(&["POD"], rows(), false),
        "      POD\nok    a\nwarn  b\nfail  c\n"
    );
    let coloured = levels(&["POD"], rows(), true);
    assert_eq!(
        coloured,
        "      POD\n\x1b[32mok  \x1b[0m  a\n\x1b[33mwarn\x1b[0m  b\n\x1b[31mfail\x1b[0m  c\n"
    );
}

#[test]
fn worse_is_greater() {
    assert!(Level::Ok < Level::Warn && Level::Warn < Level::Fail);
    assert_eq!(word(Level::Ok, false).len(), word(Level::Fail, false).len());
}

#[test]
fn what_a_tenant_wrote_cannot_steer_the_terminal() {
    assert_eq!(printable("a\x1b[2Jb\u{9b}c"), "a\u{fffd}[2Jb\u{fffd}c");
    assert_eq!(printable("two\nlines\tand é"), "two lines and é");
    let text = table(&["POD"], [cells(&["\x1b[31mx\r\n"])]);
    assert!(!text.contains('\x1b') && !text.contains('\r'), "{text:?}");
    assert_eq!(text.lines().count(), 2);
}

#[test]
fn documents_end_with_a_line_end() {
    let value = serde_json::json!({ "cpu": "64" });
    assert_eq!(json(&value).unwrap(), "{\n  \"cpu\": \"64\"\n}\n");
    // A quantity that looks like a number must stay text for whoever applies the patch.
    assert_eq!(yaml(&value).unwrap(), "cpu: \"64\"\n");
}

#[derive(Debug, thiserror::Error)]
#[error("outer")]
struct Outer(#[source] Inner);

#[derive(Debug, thiserror::Error)]
#[error("telling: {0}")]
struct Telling(#[source] Inner);

#[derive(Debug, thiserror::Error)]
#[error("inner")]
struct Inner;

#[test]
fn causes_are_told_once() {
    assert_eq!(chain(&Outer(Inner)), "outer: inner");
    assert_eq!(chain(&Telling(Inner)), "telling: inner");
}
