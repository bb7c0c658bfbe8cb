//! A reader of plain CSV (no quotes) for tests: columns whose fields are all numbers or empty are numbers, but
//! for those named; empty fields are nulls.

use waxwork_eval::table::{ColumnView, TableView};

/// A table in memory.
pub(crate) struct Table {
    pub(crate) names: Vec<String>,
    columns: Vec<Column>,
}

enum Column {
    Number(Vec<f64>),
    Category { codes: Vec<u32>, names: Vec<String>, null: Option<u32> },
}

impl Table {
    pub(crate) fn parse(text: &str, categories: &[&str]) -> Self {
        let mut lines = text.lines().filter(|line| !line.trim().is_empty());
        let names: Vec<String> = lines.next().unwrap().trim().split(',').map(str::to_owned).collect();
        let rows: Vec<Vec<&str>> = lines.map(|line| line.trim().split(',').collect()).collect();
        let column = |index: usize| {
            let fields: Vec<&str> = rows.iter().map(|row| row[index]).collect();
            let number = |field: &&str| field.is_empty() || field.parse::<f64>().is_ok();
            if fields.iter().all(number) && !categories.contains(&names[index].as_str()) {
                let parse = |field: &&str| field.parse().unwrap_or(f64::NAN);
                return Column::Number(fields.iter().map(parse).collect());
            }
            let mut dictionary: Vec<String> = fields.iter().map(|&field| field.to_owned()).collect();
            dictionary.sort_unstable();
            dictionary.dedup();
            let code = |field: &&str| dictionary.iter().position(|name| name == field).unwrap() as u32;
            let codes = fields.iter().map(code).collect();
            let null = dictionary.iter().position(String::is_empty).map(|code| code as u32);
            Column::Category { codes, names: dictionary, null }
        };
        let columns = (0..names.len()).map(column).collect();
        Self { names, columns }
    }

    pub(crate) fn views(&self) -> Vec<ColumnView<'_>> {
        let mut views = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            views.push(match column {
                Column::Number(values) => ColumnView::Number(values),
                Column::Category { codes, names, null } => ColumnView::Category { codes, names, null: *null },
            });
        }
        views
    }

    pub(crate) fn view<'a>(&'a self, columns: &'a [ColumnView<'a>]) -> TableView<'a> {
        TableView { names: &self.names, columns }
    }
}
