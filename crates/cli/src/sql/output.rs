//! Where rows go: the standard output, a file, or a screen with a pager for what is longer.

use std::fs::File;
use std::io::{self, BufWriter, Stdout, Write, stdout};
use std::process::{Child, ChildStdin, Command, Stdio};

use super::visible::VisibleWriter;

const BUFFER_BYTES: usize = 64 << 10;
/// Shows up to a screen's lines and ends, chops long lines, lets colours through, and leaves what it has shown.
const USUAL_PAGER: &str = "less -SFRX";
/// What a shell says where a command cannot be run.
const NOT_RUN: [i32; 2] = [126, 127];

/// Where the results of a session go.
#[derive(Debug, Default)]
pub enum Target {
    #[default]
    Standard,
    File {
        file: File,
        /// It has a result that another one cannot follow.
        full: bool,
    },
}

/// What is known of the terminal that shows a result.
#[derive(Clone, Debug)]
pub struct Screen {
    pub lines: usize,
    /// As a shell is given it.
    pub pager: Option<String>,
    /// Values may hold what acts on a terminal.
    pub makes_visible: bool,
}

/// For one result.
pub enum Output {
    Standard(BufWriter<Stdout>),
    File(BufWriter<File>),
    Screen(VisibleWriter<Paged>),
    /// The format takes care of what it shows.
    Plain(Paged),
}

impl Output {
    pub fn standard() -> Self {
        Self::Standard(BufWriter::with_capacity(BUFFER_BYTES, stdout()))
    }

    pub fn file(file: &File) -> io::Result<Self> {
        Ok(Self::File(BufWriter::with_capacity(BUFFER_BYTES, file.try_clone()?)))
    }

    pub fn screen(screen: Screen) -> Self {
        let visible = screen.makes_visible;
        let paged = Paged { screen, state: State::Held { bytes: Vec::new(), lines: 0 } };
        if visible { Self::Screen(VisibleWriter::new(paged)) } else { Self::Plain(paged) }
    }

    /// Everything is where it belongs, and a pager has been left.
    pub fn finish(self) -> io::Result<()> {
        match self {
            Self::Standard(mut out) => out.flush(),
            Self::File(mut out) => out.flush(),
            Self::Screen(out) => out.into_inner()?.finish(),
            Self::Plain(out) => out.finish(),
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Standard(out) => out.write(bytes),
            Self::File(out) => out.write(bytes),
            Self::Screen(out) => out.write(bytes),
            Self::Plain(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Standard(out) => out.flush(),
            Self::File(out) => out.flush(),
            Self::Screen(out) => out.flush(),
            Self::Plain(out) => out.flush(),
        }
    }
}

/// Holds what would fit on the screen, and starts a pager when there is more.
pub struct Paged {
    screen: Screen,
    state: State,
}

enum State {
    /// At most a screen's lines, of which the last one may be long.
    Held {
        bytes: Vec<u8>,
        lines: usize,
    },
    Direct(Stdout),
    Pager {
        child: Child,
        input: BufWriter<ChildStdin>,
    },
}

impl Paged {
    fn begin(&mut self) -> io::Result<()> {
        let State::Held { bytes, .. } = &mut self.state else { return Ok(()) };
        let bytes = std::mem::take(bytes);
        self.state = match self.screen.pager.as_deref().map(start_pager) {
            Some(Ok((child, input))) => State::Pager { child, input: BufWriter::with_capacity(BUFFER_BYTES, input) },
            Some(Err(_)) | None => State::Direct(stdout()),
        };
        self.write_all(&bytes)
    }

    fn take(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Held { bytes: Vec::new(), lines: 0 })
    }

    fn finish(mut self) -> io::Result<()> {
        if let State::Held { .. } = self.state {
            self.screen.pager = None;
            self.begin()?;
        }
        match self.take() {
            State::Held { .. } => Ok(()),
            State::Direct(mut out) => out.flush(),
            State::Pager { mut child, input } => {
                let written = input.into_inner().map(drop).map_err(io::IntoInnerError::into_error);
                let status = child.wait()?;
                if status.code().is_some_and(|code| NOT_RUN.contains(&code)) {
                    let pager = self.screen.pager.take().unwrap_or_default();
                    return Err(io::Error::other(format!(
                        "the pager {pager:?} cannot be run: \\pager off goes without"
                    )));
                }
                written
            }
        }
    }
}

impl Write for Paged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.state {
            State::Held { bytes: held, lines } => {
                held.extend_from_slice(bytes);
                *lines += bytes.iter().filter(|&&byte| byte == b'\n').count();
                // Two lines are for the count of rows and the next prompt.
                if *lines + 2 > self.screen.lines || self.screen.pager.is_none() || held.len() > (1 << 20) {
                    self.begin()?;
                }
                Ok(bytes.len())
            }
            State::Direct(out) => out.write(bytes),
            State::Pager { input, .. } => input.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.state {
            State::Held { .. } => Ok(()),
            State::Direct(out) => out.flush(),
            State::Pager { input, .. } => input.flush(),
        }
    }
}

impl Drop for Paged {
    fn drop(&mut self) {
        // A result that broke off: its pager shows what there was, and is waited for, as it has the terminal.
        if let State::Pager { mut child, input } = self.take() {
            drop(input);
            let _ = child.wait();
        }
    }
}

fn start_pager(command: &str) -> io::Result<(Child, ChildStdin)> {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).stdin(Stdio::piped());
    if std::env::var_os("LESSCHARSET").is_none() {
        shell.env("LESSCHARSET", "utf-8");
    }
    let mut child = shell.spawn()?;
    let input = child.stdin.take().ok_or_else(|| io::Error::other("a pager without an input"))?;
    Ok((child, input))
}

/// `$PAGER`, or what is usual where it is there.
pub fn pager() -> Option<String> {
    match std::env::var("PAGER") {
        Ok(pager) if pager.trim().is_empty() => None,
        Ok(pager) => Some(pager),
        Err(_) => {
            let paths = std::env::var_os("PATH").unwrap_or_default();
            let there = std::env::split_paths(&paths).any(|path| path.join("less").is_file());
            there.then(|| USUAL_PAGER.to_owned())
        }
    }
}

/// Lines and columns of the terminal that shows the standard output.
pub fn screen_size() -> Option<(usize, usize)> {
    // SAFETY: the structure is plain numbers, filled in by the call, and used only if the call succeeds.
    let size = unsafe {
        let mut size = std::mem::zeroed::<libc::winsize>();
        (libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &mut size) == 0).then_some(size)
    }?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row.into(), size.ws_col.into()))
}
