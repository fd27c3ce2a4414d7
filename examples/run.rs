//! Runs a command for each line of standard input, several at a time, and retries those that fail:
//! `ls | cargo run --release --example run -- [-j N] [--attempts N] -- COMMAND [ARG…]`.
//! `{}` in the command stands for the line; without one, the line becomes the last argument.

use std::io::{self, ErrorKind, Write};
use std::process::{self, Command, ExitCode, Stdio};
use std::{env, error::Error, ffi::OsString, iter, thread};

use retry_pool::{Completion, RetryPolicy, RetryPool};

fn main() -> ExitCode {
    let (pool, command) = parse(env::args_os().skip(1)).unwrap_or_else(|error| {
        eprintln!("run: {error}\nusage: run [-j N] [--attempts N] -- COMMAND [ARG…]");
        process::exit(2);
    });
    run_lines(&pool, command).unwrap_or_else(|error| {
        eprintln!("run: {error}");
        ExitCode::FAILURE
    })
}

fn parse(args: impl Iterator<Item = OsString>) -> Result<(RetryPool, Vec<String>), Box<dyn Error>> {
    let args: Result<Vec<_>, _> = args.map(OsString::into_string).collect();
    let args = args.map_err(|arg| format!("{arg:?} is not UTF-8"))?;
    let mut args = args.into_iter();
    let (mut pool, mut policy) = (RetryPool::builder(), RetryPolicy::default());
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "-j" => pool = pool.threads(number(&arg, args.next())? as usize),
            "--attempts" => policy = policy.max_attempts(number(&arg, args.next())?),
            "--" if args.len() > 0 => return Ok((pool.retry(policy).build()?, args.collect())),
            "--" => break,
            _ => return Err(format!("{arg} is not an option; COMMAND comes after --").into()),
        }
    }
    Err("COMMAND is missing".into())
}

fn number(option: &str, value: Option<String>) -> Result<u32, String> {
    let value = value.ok_or_else(|| format!("{option} needs a number"))?;
    let number = value.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("{option} {value}: a whole number from 1 is needed"))
}

fn run_lines(pool: &RetryPool, command: Vec<String>) -> io::Result<ExitCode> {
    let batch = pool.batch(iter::empty(), move |line: &String| run(&command, line));
    // A program that does not exist will not exist at the next attempt.
    let batch = batch.retry_if(|error| error.kind() != ErrorKind::NotFound);
    let (sender, completed) = batch.channel();
    let reader = thread::spawn(move || {
        let mut lines = io::stdin().lines();
        lines.try_for_each(|line| sender.send(line?).map_err(io::Error::other))
    });
    let mut failures = Vec::new();
    for done in completed {
        let text = describe(&done);
        writeln!(io::stdout(), "{text}")?;
        if done.result().is_err() {
            failures.push(text);
        }
    }
    if !failures.is_empty() {
        eprintln!("run: {} failed\n{}", failures.len(), failures.join("\n"));
    }
    let read = reader.join().expect("reading lines does not panic");
    read.map_err(|e| io::Error::new(e.kind(), format!("standard input: {e}")))?;
    Ok(ExitCode::from(u8::from(!failures.is_empty())))
}

/// Returns what the command printed.
fn run(command: &[String], line: &str) -> io::Result<String> {
    let words = command.iter().map(|word| word.replace("{}", line));
    let mut words: Vec<String> = words.collect();
    if !command.iter().any(|word| word.contains("{}")) {
        words.push(line.to_owned());
    }
    let mut command = Command::new(&words[0]);
    let output = command.args(&words[1..]).stdin(Stdio::null()).output();
    let output = output.map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", words[0])))?;
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed).trim_end().to_owned();
    match printed.lines().last() {
        _ if output.status.success() => Ok(printed),
        Some(last) => Err(io::Error::other(format!("{}: {last}", output.status))),
        None => Err(io::Error::other(output.status.to_string())),
    }
}

fn describe(done: &Completion<String, String, io::Error>) -> String {
    let (line, attempts) = (done.input(), done.attempts());
    let text = match done.result() {
        Ok(printed) if attempts == 1 => format!("ok {line}\n{printed}"),
        Ok(printed) => format!("ok {line} ({attempts} attempts)\n{printed}"),
        Err(give_up) => format!("failed {line}: {give_up}"),
    };
    text.trim_end().to_owned()
}
