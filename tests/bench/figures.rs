//! Figures: medians, and tables as plain text.

/// Decimal, as in "CPU-seconds per GB".
pub(crate) const GB: f64 = 1e9;

/// The middle one; of an even number the upper middle.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The median of what each of these says.
pub(crate) fn median_of<T>(rounds: &[T], figure: impl Fn(&T) -> f64) -> f64 {
    median(rounds.iter().map(figure).collect())
}

/// A count or a number of bytes as a figure to reckon with.
#[allow(clippy::cast_precision_loss, reason = "a bench moves less than 2^52 bytes")]
pub(crate) fn figure(count: u64) -> f64 {
    count as f64
}

/// A table that is printed row by row, so that a long run shows how far it is.
pub(crate) struct Table {
    widths: Vec<usize>,
}

impl Table {
    /// Prints the title and the names of the columns.
    pub(crate) fn titled(title: &str, columns: &[&str]) -> Self {
        println!("\n## {title}\n");
        let table = Self { widths: columns.iter().map(|column| column.chars().count().max(7)).collect() };
        table.row(columns);
        let rules: Vec<String> = table.widths.iter().map(|width| "-".repeat(*width)).collect();
        table.row(&rules);
        table
    }

    pub(crate) fn row(&self, cells: &[impl AsRef<str>]) {
        let cells = cells.iter().map(AsRef::as_ref).zip(&self.widths);
        let line: Vec<String> = cells.map(|(cell, width)| format!("{cell:>width$}")).collect();
        println!("| {} |", line.join(" | "));
    }
}
