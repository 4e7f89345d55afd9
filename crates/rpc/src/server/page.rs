//! The status page: tables of the services of this process.

use maud::{DOCTYPE, html};

/// Rows of cells under headings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    pub columns: Vec<&'static str>,
    pub rows: Vec<Vec<String>>,
}

const STYLE: &str = "body{font:14px sans-serif;margin:2em}table{border-collapse:collapse}\
    td,th{border:1px solid #ccc;padding:2px 8px;text-align:left}";

pub(super) fn render(
    program: &str,
    sections: impl Iterator<Item = (&'static str, Table)>,
) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="refresh" content="5";
                title { (program) }
                style { (STYLE) }
            }
            body {
                h1 { (program) " " (env!("CARGO_PKG_VERSION")) }
                @for (title, table) in sections {
                    h2 { (title) }
                    table {
                        tr { @for column in &table.columns { th { (column) } } }
                        @for row in &table.rows {
                            tr { @for cell in row { td { (cell) } } }
                        }
                    }
                }
                p { a href="/metrics" { "metrics" } }
            }
        }
    };
    page.into_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_escaped() {
        let table = Table { columns: vec!["name"], rows: vec![vec!["<b>&".into()]] };
        let page = render("xtfs-dir", [("Volumes", table)].into_iter());
        assert!(page.contains("<h2>Volumes</h2>"), "{page}");
        assert!(page.contains("<td>&lt;b&gt;&amp;</td>"), "{page}");
    }
}
