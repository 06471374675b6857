//! The report, as text and as an SVG plot.

use std::fmt::{self, Display, Write};
use std::fs;
use std::io;
use std::process::Command;

use chrono::Utc;

/// The folder of the report.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches");

/// The server that the ratios compare with the others.
const OURS: &str = "chime";

/// The key to the lines of the text report.
const TEXT_KEY: &str = "Median of the rounds. After a peer: ratio chime / peer, median (minimum to maximum) of the rounds.";

/// The key to the bars of the plot.
const PLOT_KEY: [&str; 2] = [
    "Bar: median of the rounds, relative to the longest bar of the panel. Blue: chime.",
    "x: median of the ratio chime / peer.",
];

/// Height of a bar of the plot, with the space below it.
const BAR: usize = 16;

/// The unit of a figure.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    PerSecond,
    BytesPerSecond,
    Bytes,
    /// Shown in microseconds.
    Seconds,
    Count,
    Percent,
    /// Jain's fairness index.
    Index,
}

impl Unit {
    /// Returns whether higher or lower figures are better, in words.
    fn direction(self) -> &'static str {
        match self {
            Unit::PerSecond | Unit::BytesPerSecond | Unit::Percent | Unit::Index => {
                "higher is better"
            }
            Unit::Bytes | Unit::Seconds | Unit::Count => "lower is better",
        }
    }

    fn show(self, value: f64) -> String {
        match self {
            _ if value.is_nan() => "missing".into(),
            Unit::PerSecond if value >= 1e6 => format!("{:.2} M/s", value / 1e6),
            Unit::PerSecond => format!("{:.1} k/s", value / 1e3),
            Unit::BytesPerSecond => format!("{:.2} GB/s", value / 1e9),
            Unit::Bytes => format!("{value:.0} B"),
            Unit::Count => format!("{value:.0}"),
            Unit::Seconds => format!("{:.0} \u{b5}s", value * 1e6),
            Unit::Percent => format!("{value:.1} %"),
            Unit::Index => format!("{value:.3}"),
        }
    }
}

/// A goal for chime in one row.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    /// The figure is at least this.
    Min(f64),
    /// The ratio of the figure to that of the named server is at least this.
    RatioMin(&'static str, f64),
    /// The ratio of the figure to that of the named server is at most this.
    RatioMax(&'static str, f64),
}

/// The figures of every round.
pub(crate) struct Report {
    /// The machine, the commit, the date and the load average, a line for each.
    header: Vec<String>,
    /// What the names of the servers mean.
    legend: &'static [&'static str],
    rows: Vec<Row>,
    /// A line for each figure that could not be measured.
    missing: Vec<String>,
}

struct Row {
    /// The workload, a colon, and the figure.
    title: String,
    unit: Unit,
    goal: Option<Goal>,
    /// The figures of each server, one for each round: NaN if it is missing.
    servers: Vec<(&'static str, Vec<f64>)>,
}

impl Row {
    fn values(&self, server: &str) -> Option<&[f64]> {
        let mut servers = self.servers.iter();
        servers
            .find(|(name, _)| *name == server)
            .map(|(_, values)| &**values)
    }

    /// Returns the ratio of chime to the server in each round. Rounds with a missing figure, or with zero
    /// for the server, have none.
    fn ratios(&self, values: &[f64]) -> Vec<f64> {
        let ours = self.values(OURS).unwrap_or_default();
        let ratios = ours.iter().zip(values).map(|(ours, theirs)| ours / theirs);
        ratios.filter(|ratio| ratio.is_finite()).collect()
    }

    /// Returns the goal and whether chime meets it, as a line.
    fn goal(&self) -> Option<String> {
        let median_of = |values: Option<&[f64]>| values.map_or(f64::NAN, median);
        let ratio_to = |server: &str| {
            let ratios = self.values(server).map(|values| self.ratios(values));
            median_of(ratios.as_deref())
        };
        let (text, is_met) = match self.goal? {
            Goal::Min(min) => {
                let value = median_of(self.values(OURS));
                (format!("at least {}", self.unit.show(min)), value >= min)
            }
            Goal::RatioMin(server, min) => (
                format!("at least {min:.2} x {server}"),
                ratio_to(server) >= min,
            ),
            Goal::RatioMax(server, max) => (
                format!("at most {max:.2} x {server}"),
                ratio_to(server) <= max,
            ),
        };
        let result = if is_met { "met" } else { "missed" };
        Some(format!("goal for {OURS}: {text}: {result}"))
    }

    /// Returns the bars of the servers and the goal as SVG, one line below the other.
    fn bars(&self) -> String {
        let medians = self.servers.iter().map(|(_, values)| median(values));
        let max = medians.fold(f64::MIN_POSITIVE, f64::max);
        let mut svg = String::new();
        for (index, (server, values)) in self.servers.iter().enumerate() {
            let value = median(values);
            let width = (260.0 * value / max).max(0.0);
            let fill = if *server == OURS {
                "#1769aa"
            } else {
                "#b8c4ce"
            };
            let mut shown = self.unit.show(value);
            let ratios = self.ratios(values);
            if *server != OURS && !ratios.is_empty() {
                let _ = write!(shown, ", {:.2} x", median(&ratios));
            }
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
        if let Some(goal) = self.goal() {
            let y = BAR * (self.servers.len() + 1) - 4;
            let _ = writeln!(
                svg,
                "<text x='128' y='{y}' font-style='italic'>{goal}</text>"
            );
        }
        svg
    }

    /// Returns the number of lines below the title.
    fn lines(&self) -> usize {
        self.servers.len() + usize::from(self.goal.is_some())
    }
}

impl Report {
    /// Starts a report of this number of rounds. `left_out` names the peers that are not measured, and
    /// `legend` says what the names of the servers mean.
    pub(crate) fn new(
        rounds: usize,
        left_out: Vec<String>,
        legend: &'static [&'static str],
    ) -> io::Result<Report> {
        let mut header = vec![
            format!("Benchmark of {OURS} and other servers over loopback, {rounds} rounds"),
            format!("machine: {}", machine()?),
            format!("commit: {}", commit()?),
            format!("date: {}", Utc::now().format("%Y-%m-%d %H:%M UTC")),
            format!("load average before the run: {}", load_average()?),
        ];
        header.extend(left_out.iter().map(|peer| format!("left out: {peer}")));
        Ok(Report {
            header,
            legend,
            rows: Vec::new(),
            missing: Vec::new(),
        })
    }

    /// Adds the figure of a server in the current round.
    pub(crate) fn add<E: Display>(
        &mut self,
        title: &str,
        unit: Unit,
        server: &'static str,
        measured: Result<f64, E>,
    ) {
        let value = measured.unwrap_or_else(|error| {
            let line = format!("missing: {title}: {server}: {error}");
            eprintln!("{line}");
            self.missing.push(line);
            f64::NAN
        });
        let index = self.rows.iter().position(|row| row.title == title);
        let index = index.unwrap_or_else(|| {
            self.rows.push(Row {
                title: title.into(),
                unit,
                goal: None,
                servers: Vec::new(),
            });
            self.rows.len() - 1
        });
        let servers = &mut self.rows[index].servers;
        match servers.iter_mut().find(|(name, _)| *name == server) {
            Some((_, values)) => values.push(value),
            None => servers.push((server, vec![value])),
        }
    }

    /// Sets the goal of a row that has figures.
    pub(crate) fn set_goal(&mut self, title: &str, goal: Goal) {
        if let Some(row) = self.rows.iter_mut().find(|row| row.title == title) {
            row.goal = Some(goal);
        }
    }

    /// Returns the last figure of the server in this row.
    pub(crate) fn last(&self, title: &str, server: &str) -> Option<f64> {
        let row = self.rows.iter().find(|row| row.title == title)?;
        row.values(server)?.last().copied()
    }

    /// Prints the report, and writes it and its plot.
    ///
    /// # Errors
    ///
    /// If a file cannot be written, or a figure is missing. In the latter case both files are written.
    pub(crate) fn write(&mut self) -> io::Result<()> {
        let load = format!("load average after the run: {}", load_average()?);
        self.header.push(load);
        let text = self.text();
        print!("{text}");
        fs::write(format!("{FOLDER}/peers.txt"), text)?;
        fs::write(format!("{FOLDER}/peers.svg"), self.plot())?;
        match self.missing.len() {
            0 => Ok(()),
            count => Err(io::Error::other(format!("{count} figures are missing"))),
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for line in self.header.iter().chain(&self.missing) {
            let _ = writeln!(text, "{line}");
        }
        let _ = writeln!(text, "\n{TEXT_KEY}\n{}", self.legend.join("\n"));
        for row in &self.rows {
            let _ = writeln!(text, "\n{} ({})", row.title, row.unit.direction());
            for (server, values) in &row.servers {
                let _ = write!(text, "  {server:<16}{:>12}", row.unit.show(median(values)));
                let ratios = row.ratios(values);
                if *server != OURS && !ratios.is_empty() {
                    let (median, min, max) = (median(&ratios), min(&ratios), max(&ratios));
                    let _ = write!(text, "   {median:.2} ({min:.2} to {max:.2})");
                }
                text.push('\n');
            }
            if let Some(goal) = row.goal() {
                let _ = writeln!(text, "  {goal}");
            }
        }
        text
    }

    /// Returns the plot as SVG, in two columns: the header beside the legend, then a panel for each row, with a
    /// bar for each server.
    fn plot(&self) -> String {
        const HEAD: usize = 50;
        const COLUMN: usize = 540;
        let height_of = |row: &Row| HEAD + BAR * row.lines();
        let total: usize = self.rows.iter().map(height_of).sum();
        let header = self.header.iter().chain(&self.missing);
        let header: Vec<&str> = header.map(String::as_str).collect();
        let legend: Vec<&str> = PLOT_KEY.iter().chain(self.legend).copied().collect();
        let mut bars = String::new();
        for (x, lines) in [(10, &header), (COLUMN + 10, &legend)] {
            for (index, line) in lines.iter().enumerate() {
                let y = BAR * (index + 1) + 4;
                let _ = writeln!(bars, "<text x='{x}' y='{y}'>{}</text>", Escaped(line));
            }
        }
        let top = BAR * header.len().max(legend.len()) + 10;
        let (mut x, mut y, mut height) = (0, 0, 0);
        for row in &self.rows {
            if x == 0 && y >= total / 2 {
                (x, y) = (COLUMN, 0);
            }
            let (workload, figure) = row.title.rsplit_once(": ").unwrap_or(("", &row.title));
            let _ = writeln!(
                bars,
                "<g transform='translate({x} {})'>\n\
                 <text x='10' y='-22' font-weight='bold'>{}</text>\n\
                 <text x='10' y='-6'>{}, {}</text>\n{}</g>",
                top + y + HEAD,
                Escaped(workload),
                Escaped(figure),
                row.unit.direction(),
                row.bars()
            );
            y += height_of(row);
            height = height.max(top + y + 20);
        }
        let width = 2 * COLUMN;
        format!(
            "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' \
             font-family='sans-serif' font-size='12'>\n\
             <rect width='{width}' height='{height}' fill='white'/>\n{bars}</svg>\n"
        )
    }
}

/// Text with the characters escaped that XML reserves.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.replace('&', "&amp;").replace('<', "&lt;"))
    }
}

/// Returns the abbreviated commit, with `-dirty` if tracked files differ from it.
fn commit() -> io::Result<String> {
    let git = Command::new("git")
        .args(["-C", FOLDER, "describe", "--always", "--dirty"])
        .output()?;
    match git.status.success() {
        true => Ok(String::from_utf8_lossy(&git.stdout).trim().into()),
        false => Ok("unknown".into()),
    }
}

/// Returns the CPU model, the number of cores and the kernel release.
fn machine() -> io::Result<String> {
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let value = |name| {
        let mut lines = cpus.lines().filter(move |line| line.starts_with(name));
        lines.next()?.split_once(": ").map(|(_, value)| value)
    };
    let cores = cpus.lines().filter(|line| line.starts_with("processor"));
    let (model, number) = (value("model name"), value("model\t"));
    let model = model.unwrap_or("unknown CPU");
    let number = number.unwrap_or("unknown");
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(format!(
        "{model} (model {number}), {} cores, Linux {}",
        cores.count(),
        kernel.trim()
    ))
}

/// Returns the load average over 1, 5 and 15 minutes.
fn load_average() -> io::Result<String> {
    let text = fs::read_to_string("/proc/loadavg")?;
    let averages: Vec<&str> = text.split(' ').take(3).collect();
    Ok(averages.join(", "))
}

/// Returns the median of the figures that are not missing, NaN if all are.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.retain(|value| !value.is_nan());
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn min(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

fn max(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}
