//! What was measured, as text and as a plot.

use std::fmt::Write;
use std::fs;
use std::io;

/// Where the report is written.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches");

/// The server with which the others are compared.
const OURS: &str = "chime";

/// How high a bar of the plot is, with the space below it.
const BAR: usize = 16;

/// What a figure counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    PerSecond,
    BytesPerSecond,
    Bytes,
    Seconds,
    Count,
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Unit::PerSecond if value >= 1e6 => format!("{:.2} M/s", value / 1e6),
            Unit::PerSecond => format!("{:.1} k/s", value / 1e3),
            Unit::BytesPerSecond => format!("{:.2} GB/s", value / 1e9),
            Unit::Bytes => format!("{value:.0} B"),
            Unit::Count => format!("{value:.0}"),
            Unit::Seconds => format!("{:.0} us", value * 1e6),
        }
    }
}

/// The figures of every round.
pub(crate) struct Report {
    rounds: usize,
    rows: Vec<Row>,
}

struct Row {
    title: String,
    unit: Unit,
    servers: Vec<(&'static str, Vec<f64>)>,
}

impl Row {
    fn values(&self, server: &str) -> Option<&[f64]> {
        let mut servers = self.servers.iter();
        servers
            .find(|(name, _)| *name == server)
            .map(|(_, values)| &**values)
    }

    /// What ours is in comparison with this one, in each round.
    fn ratios(&self, values: &[f64]) -> Vec<f64> {
        let ours = self.values(OURS).unwrap_or_default();
        let ratios = ours.iter().zip(values).map(|(ours, theirs)| ours / theirs);
        // Nothing can be compared with zero.
        ratios.filter(|ratio| ratio.is_finite()).collect()
    }

    /// The bars of the servers, below each other.
    fn bars(&self) -> String {
        let medians = self.servers.iter().map(|(_, values)| median(values));
        let greatest = medians.fold(f64::MIN_POSITIVE, f64::max);
        let mut svg = String::new();
        for (index, (server, values)) in self.servers.iter().enumerate() {
            let value = median(values);
            let width = 260.0 * value / greatest;
            let fill = if *server == OURS {
                "#1769aa"
            } else {
                "#b8c4ce"
            };
            let shown = self.unit.show(value);
            let top = BAR * index;
            let middle = top + BAR - 4;
            let _ = writeln!(
                svg,
                "<text x='120' y='{middle}' text-anchor='end'>{server}</text>\
                 <rect x='128' y='{}' width='{width:.1}' height='{}' fill='{fill}'/>\
                 <text x='{:.1}' y='{middle}'>{shown}</text>",
                top + 2,
                BAR - 3,
                width + 134.0,
            );
        }
        svg
    }
}

impl Report {
    pub(crate) fn new(rounds: usize) -> Report {
        Report {
            rounds,
            rows: Vec::new(),
        }
    }

    /// Adds a figure, or says why there is none.
    pub(crate) fn add(
        &mut self,
        title: &str,
        unit: Unit,
        server: &'static str,
        measured: io::Result<f64>,
    ) {
        let value = match measured {
            Ok(value) => value,
            Err(error) => return eprintln!("{title}: {server}: {error}"),
        };
        let index = self.rows.iter().position(|row| row.title == title);
        let index = index.unwrap_or_else(|| {
            let (title, servers) = (title.into(), Vec::new());
            self.rows.push(Row {
                title,
                unit,
                servers,
            });
            self.rows.len() - 1
        });
        let servers = &mut self.rows[index].servers;
        match servers.iter_mut().find(|(name, _)| *name == server) {
            Some((_, values)) => values.push(value),
            None => servers.push((server, vec![value])),
        }
    }

    /// What was added last.
    pub(crate) fn last(&self, title: &str, server: &str) -> Option<f64> {
        let row = self.rows.iter().find(|row| row.title == title)?;
        row.values(server)?.last().copied()
    }

    /// Prints it, and writes it and its plot.
    pub(crate) fn write(&self) -> io::Result<()> {
        let text = self.text();
        print!("{text}");
        fs::write(format!("{FOLDER}/peers.txt"), text)?;
        fs::write(format!("{FOLDER}/peers.svg"), self.plot())
    }

    fn text(&self) -> String {
        let mut text = format!(
            "medians of {} rounds; chime in comparison, least to greatest\n",
            self.rounds
        );
        for row in &self.rows {
            let _ = writeln!(text, "\n{}", row.title);
            for (server, values) in &row.servers {
                let _ = write!(text, "  {server:<16}{:>12}", row.unit.show(median(values)));
                let ratios = row.ratios(values);
                if *server != OURS && !ratios.is_empty() {
                    let (least, greatest) = (least(&ratios), greatest(&ratios));
                    let _ = write!(
                        text,
                        "   {:.2} ({least:.2} to {greatest:.2})",
                        median(&ratios)
                    );
                }
                text.push('\n');
            }
        }
        text
    }

    /// A bar for each server, in each row as long as the figure is in comparison with the greatest. The
    /// rows stand in two columns.
    fn plot(&self) -> String {
        const HEAD: usize = 34;
        const COLUMN: usize = 480;
        let height_of = |row: &Row| HEAD + BAR * row.servers.len();
        let total: usize = self.rows.iter().map(height_of).sum();
        let (mut x, mut y, mut height) = (0, 0, 0);
        let mut bars = String::new();
        for row in &self.rows {
            if x == 0 && y >= total / 2 {
                (x, y) = (COLUMN, 0);
            }
            let _ = writeln!(
                bars,
                "<g transform='translate({x} {})'>\n\
                 <text x='10' y='-6' font-weight='bold'>{}</text>\n{}</g>",
                y + HEAD,
                row.title,
                row.bars()
            );
            y += height_of(row);
            height = height.max(y + 20);
        }
        let width = 2 * COLUMN;
        format!(
            "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' \
             font-family='sans-serif' font-size='12'>\n\
             <rect width='{width}' height='{height}' fill='white'/>\n{bars}</svg>\n"
        )
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

fn greatest(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}
