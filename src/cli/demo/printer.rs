//! The output of the demo: indented blocks of at most 96 columns.

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::Path,
};

use bytes::Bytes;
use http::{HeaderMap, Response};

use super::{
    call::Call,
    color::{Color, Style},
    json::{self, shorten},
    record::{Exchange, ShownHeader, StepEvent, StepRecord},
    sandbox::Sandbox,
};
use crate::dev::backend::ReceivedRequest;

/// Columns of prose and JSON, indentation included.
const WIDTH: usize = 96;
/// Indentation of a step.
const INDENT: usize = 4;
/// Headers of a response that are printed.
const SHOWN_HEADERS: [&str; 2] = ["X-Menshen-Error", "WWW-Authenticate"];

pub(super) struct TourPrinter<'a> {
    out: &'a mut dyn Write,
    color: Color,
    steps: usize,
}

impl<'a> TourPrinter<'a> {
    pub(super) fn new(out: &'a mut dyn Write, color: Color) -> Self {
        Self {
            out,
            color,
            steps: 0,
        }
    }

    /// Prints the address of the page, if there is one, then the servers and their addresses.
    pub(super) fn introduction(
        &mut self,
        http: &str,
        sandbox: &Sandbox,
        page: Option<SocketAddr>,
    ) -> io::Result<()> {
        if let Some(page) = page {
            let address = self.color.paint(Style::Sent, &format!("http://{page}"));
            writeln!(self.out)?;
            self.indented(&format!("In a browser: {address}"))?;
            // A person may open it before the tour is over.
            self.out.flush()?;
        }
        self.heading("menshen demo")?;
        self.text(
            "Three servers have started on this machine, and no network is used: menshen, a sample backend behind it, and a \
             simulated WeChat. This tour plays the mini program. What follows are its real requests and the real answers.",
        )?;
        self.gap()?;
        let (backend, wechat) = (
            sandbox.servers.backend.address(),
            sandbox.servers.wechat.address(),
        );
        let gate = self.color.paint(Style::Title, "menshen");
        self.indented(&format!(
            "mini program ──▶ {gate} {http} ──▶ backend {backend}"
        ))?;
        self.indented(&format!(
            "                    └──▶ simulated WeChat {wechat}"
        ))?;
        self.gap()?;
        self.text(&format!(
            "What menshen writes is in {}, which is removed at the end.",
            sandbox.path().display()
        ))
    }

    /// Begins a step: what is tried, and why it matters.
    pub(super) fn step(&mut self, title: &str, why: &str) -> io::Result<()> {
        self.steps += 1;
        self.heading(&format!("{} · {title}", self.steps))?;
        self.text(why)?;
        self.gap()
    }

    /// The number of the current step, from 1.
    pub(super) const fn steps(&self) -> usize {
        self.steps
    }

    /// What happened in a step.
    pub(super) fn record(&mut self, record: &StepRecord) -> io::Result<()> {
        for event in &record.events {
            match event {
                StepEvent::Exchange(exchange) => self.exchange(exchange)?,
                StepEvent::Claim { claim, holds: true } => self.claim_holds(claim.english)?,
                StepEvent::Claim { claim, .. } => self.claim_fails(claim.english)?,
            }
        }
        Ok(())
    }

    fn exchange(&mut self, exchange: &Exchange) -> io::Result<()> {
        self.request(&exchange.call)?;
        match &exchange.received {
            Some(received) => self.answer_of_backend(&exchange.response, received, &exchange.shown),
            None => self.answer(&exchange.response),
        }
    }

    fn request(&mut self, call: &Call) -> io::Result<()> {
        let line = format!("▶ {} {}", call.method, call.path);
        self.indented(&self.color.paint(Style::Sent, &line))?;
        for (name, value) in &call.headers {
            self.field(Style::Name, name, value)?;
        }
        if let Some(body) = &call.body {
            self.body(body)?;
        }
        self.gap()
    }

    /// A response with its body.
    fn answer(&mut self, answer: &Response<Bytes>) -> io::Result<()> {
        self.status(answer, "")?;
        self.shown_headers(answer.headers())?;
        self.body(&String::from_utf8_lossy(answer.body()))?;
        self.gap()
    }

    /// A response of the sample backend, whose body is the request that it received.
    fn answer_of_backend(
        &mut self,
        answer: &Response<Bytes>,
        received: &ReceivedRequest,
        shown: &[ShownHeader],
    ) -> io::Result<()> {
        self.status(answer, " from the backend, which received:")?;
        writeln!(
            self.out,
            "{:INDENT$}  {} {}",
            "", received.method, received.target
        )?;
        let mut others = received.headers.len();
        for &header in shown {
            let (style, name) = match header {
                ShownHeader::Identity(name) => (Style::Identity, name),
                ShownHeader::Other(name) => (Style::Name, name),
            };
            let known = name.to_ascii_lowercase();
            let mut values = received.header(&known).peekable();
            if values.peek().is_none() {
                let none = self
                    .color
                    .paint(Style::Comment, &format!("{name}: (not there)"));
                writeln!(self.out, "{:INDENT$}  {none}", "")?;
            }
            for value in values {
                others = others.saturating_sub(1);
                self.field(style, name, value)?;
            }
        }
        let others = self
            .color
            .paint(Style::Comment, &format!("and {others} other headers"));
        writeln!(self.out, "{:INDENT$}  {others}", "")?;
        self.gap()
    }

    /// A claim that was checked and is true.
    fn claim_holds(&mut self, claim: &str) -> io::Result<()> {
        let mark = self.color.paint(Style::Good, "✓");
        self.indented(&format!("{mark} {claim}"))
    }

    /// A claim that was checked and is not true.
    fn claim_fails(&mut self, claim: &str) -> io::Result<()> {
        let mark = self.color.paint(Style::Refused, "✗");
        self.indented(&format!("{mark} {claim}"))?;
        self.gap()
    }

    pub(super) fn heading(&mut self, text: &str) -> io::Result<()> {
        let rule = "─".repeat(WIDTH.saturating_sub(text.chars().count() + 4));
        let (title, rule) = (
            self.color.paint(Style::Title, text),
            self.color.paint(Style::Comment, &rule),
        );
        writeln!(self.out, "\n── {title} {rule}\n")
    }

    /// Prose, wrapped.
    pub(super) fn text(&mut self, text: &str) -> io::Result<()> {
        for line in wrap(text, WIDTH - INDENT) {
            self.indented(&line)?;
        }
        Ok(())
    }

    /// A command to paste, with its purpose.
    pub(super) fn command(&mut self, what_for: &str, line: &str) -> io::Result<()> {
        self.gap()?;
        self.indented(&self.color.paint(Style::Comment, &format!("# {what_for}")))?;
        self.indented(&self.color.paint(Style::Sent, line))
    }

    /// The last line while the demo runs on.
    pub(super) fn closing(&mut self, text: &str) -> io::Result<()> {
        self.indented(&self.color.paint(Style::Title, text))?;
        self.out.flush()
    }

    /// Ends the line on which the terminal shows `^C`.
    pub(super) fn interrupted(&mut self) -> io::Result<()> {
        self.gap()
    }

    /// The last line, after all servers have stopped.
    pub(super) fn print_summary(&mut self, removed: &Path) -> io::Result<()> {
        self.gap()?;
        self.indented(&format!(
            "menshen has stopped, and {} is gone.",
            removed.display()
        ))?;
        self.out.flush()
    }

    pub(super) fn gap(&mut self) -> io::Result<()> {
        writeln!(self.out)
    }

    fn status(&mut self, answer: &Response<Bytes>, note: &str) -> io::Result<()> {
        let status = answer.status();
        let style = if status.is_success() {
            Style::Good
        } else {
            Style::Refused
        };
        let line = self.color.paint(
            style,
            format!(
                "◀ {} {}",
                status.as_u16(),
                status.canonical_reason().unwrap_or("")
            )
            .trim_end(),
        );
        self.indented(&format!("{line}{note}"))
    }

    fn shown_headers(&mut self, headers: &HeaderMap) -> io::Result<()> {
        for name in SHOWN_HEADERS {
            for value in headers.get_all(name) {
                self.field(
                    Style::Name,
                    name,
                    &String::from_utf8_lossy(value.as_bytes()),
                )?;
            }
        }
        Ok(())
    }

    fn field(&mut self, style: Style, name: &str, value: &str) -> io::Result<()> {
        writeln!(
            self.out,
            "{:INDENT$}  {}: {}",
            "",
            self.color.paint(style, name),
            shorten(value)
        )
    }

    fn body(&mut self, text: &str) -> io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        for line in json::lines(text, WIDTH - INDENT - 2, self.color) {
            writeln!(self.out, "{:INDENT$}  {line}", "")?;
        }
        Ok(())
    }

    fn indented(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.out, "{:INDENT$}{line}", "")
    }
}

/// Wraps prose between words. A word that is too long has a line of its own.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_is_broken_between_words_and_never_lost() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(
            wrap("incomprehensible is long", 7),
            ["incomprehensible", "is long"]
        );
        assert_eq!(wrap("门神 门神", 5), ["门神 门神"]);
        assert!(wrap("", 7).is_empty());
    }

    #[test]
    fn a_plain_page_has_no_escape_sequences() {
        for (color, escapes) in [(Color::Plain, false), (Color::Ansi, true)] {
            let mut out = Vec::new();
            let mut page = TourPrinter::new(&mut out, color);
            page.step("A title", "A reason.").unwrap();
            page.claim_holds("It is so.").unwrap();
            page.command("why", "curl").unwrap();
            let text = String::from_utf8(out).unwrap();
            assert_eq!(text.contains('\x1b'), escapes, "{text:?}");
            assert!(
                text.contains("1 · A title") && text.contains("It is so."),
                "{text:?}"
            );
        }
    }
}
