//! The columns of a table as the measures use them: numbers, and categories with their names.

use waxwork_data::table::{Kind, Table, Values};

use super::{ColumnView, Frame, Result, TableView, align};

/// Columns in memory, from which a [`TableView`] can be made. Identifiers and constants are left out, because
/// they contain nothing to learn.
#[derive(Clone, Debug)]
pub struct TableColumns {
    names: Vec<String>,
    columns: Vec<Owned>,
}

#[derive(Clone, Debug)]
enum Owned {
    /// Numbers; NaN for a missing value.
    Numbers(Vec<f64>),
    Categories {
        codes: Vec<u32>,
        names: Vec<String>,
        null: Option<u32>,
    },
}

impl TableColumns {
    /// Returns the columns of a table.
    pub fn of(table: &Table) -> Self {
        let (mut names, mut columns) = (Vec::new(), Vec::new());
        for (column, schema) in table.columns().iter().zip(&table.schema().columns) {
            if matches!(schema.kind, Kind::Identifier { .. } | Kind::Constant { .. }) {
                continue;
            }
            names.push(schema.name.clone());
            columns.push(match column.values() {
                Values::Numbers(_) => {
                    let number = |row| column.number(row).unwrap_or(f64::NAN);
                    Owned::Numbers((0..table.rows()).map(number).collect())
                }
                Values::Text(texts) => {
                    let codes: Vec<u32> = (0..table.rows()).map(|row| column.code(row) as u32).collect();
                    let mut names: Vec<String> = texts.iter().map(str::to_owned).collect();
                    // A code equal to the number of values stands for null.
                    let null = names.len() as u32;
                    let null = codes.contains(&null).then_some(null);
                    names.extend(null.map(|_| String::new()));
                    Owned::Categories { codes, names, null }
                }
            });
        }
        Self { names, columns }
    }

    /// Returns views of the columns, for [`TableColumns::view`].
    pub fn views(&self) -> Vec<ColumnView<'_>> {
        let mut views = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            views.push(match column {
                Owned::Numbers(numbers) => ColumnView::Number(numbers),
                Owned::Categories { codes, names, null } => {
                    ColumnView::Category { codes, names, null: *null }
                }
            });
        }
        views
    }

    /// Returns the table of the columns from [`TableColumns::views`].
    pub fn view<'a>(&'a self, columns: &'a [ColumnView<'a>]) -> TableView<'a> {
        TableView { names: &self.names, columns }
    }
}

/// Aligns tables with the same columns by [`align`]. The names appear in errors.
///
/// # Errors
/// Those of [`align`].
pub fn frames(tables: &[(&str, &TableColumns)]) -> Result<Vec<Frame>> {
    let views: Vec<Vec<ColumnView<'_>>> = tables.iter().map(|(_, columns)| columns.views()).collect();
    let named = tables.iter().zip(&views).map(|((name, columns), views)| (*name, columns.view(views)));
    align(&named.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use waxwork_data::table::{TableOptions, csv};

    use super::*;

    #[test]
    fn keeps_numbers_categories_and_gaps() {
        let text = "age,town,always\n31.5,york,x\n,leeds,x\n40.25,,x\n29.5,york,x\n";
        let table = csv::read_from("t.csv".as_ref(), text.as_bytes(), &TableOptions::default()).unwrap();
        let columns = TableColumns::of(&table);
        assert_eq!(columns.names, ["age", "town"], "a constant is left out");
        let views = columns.views();
        let ColumnView::Number(ages) = views[0] else { panic!("age is a number") };
        assert_eq!((ages[0], ages[2]), (31.5, 40.25));
        assert!(ages[1].is_nan());
        let ColumnView::Category { codes, names, null } = views[1] else { panic!("town is a category") };
        assert_eq!(names[codes[3] as usize], "york");
        assert_eq!(null, Some(codes[2]));
    }
}
