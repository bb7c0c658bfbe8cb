//! Tests the pages in Chromium, if it is installed, by its DevTools protocol through two pipes.

#![cfg(unix)]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::util::{small_of, waxwork};

/// Time to wait for an answer of the browser.
const PATIENCE: Duration = Duration::from_secs(120);

struct Browser {
    process: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    number: u64,
    session: Option<String>,
    /// Messages that are not answers.
    events: Vec<Value>,
    _profile: TempDir,
}

impl Drop for Browser {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

/// The browser that `WAXWORK_CHROMIUM` names, else `chromium` on PATH.
fn chromium() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("WAXWORK_CHROMIUM") {
        return Some(named.into());
    }
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join("chromium")).find(|path| path.is_file())
}

impl Browser {
    /// Starts a browser. Prints one line and returns None if none is installed.
    fn start(test: &str) -> Option<Self> {
        let Some(program) = chromium() else {
            println!("skipped: {test} needs chromium on PATH or in WAXWORK_CHROMIUM");
            return None;
        };
        let profile = tempfile::tempdir().unwrap();
        // Chromium's debugging pipe uses descriptors 3 and 4.
        let mut shell = Command::new("sh");
        shell.args(["-c", r#"exec "$@" 3<&0 4>&1 0</dev/null 1>/dev/null"#, "sh"]).arg(program);
        shell.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
        shell.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
        shell.arg("--remote-debugging-pipe").arg(format!("--user-data-dir={}", profile.path().display()));
        shell.arg("about:blank").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = shell.spawn().unwrap();
        let commands = process.stdin.take().unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let (send, messages) = mpsc::channel();
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while output.read_until(0, &mut message).is_ok_and(|read| read > 0) {
                message.pop();
                if send.send(serde_json::from_slice(&message).unwrap()).is_err() {
                    break;
                }
                message.clear();
            }
        });
        let (number, session, events) = (0, None, Vec::new());
        let mut browser = Self { process, commands, messages, number, session, events, _profile: profile };
        let targets = browser.call("Target.getTargets", json!({}));
        let targets = targets["targetInfos"].as_array().unwrap();
        let page =
            targets.iter().find(|target| target["type"] == "page").expect("a page")["targetId"].clone();
        let attached = browser.call("Target.attachToTarget", json!({"targetId": page, "flatten": true}));
        browser.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser.call("Emulation.setFocusEmulationEnabled", json!({"enabled": true}));
        Some(browser)
    }

    fn message(&mut self) -> Value {
        self.messages.recv_timeout(PATIENCE).expect("the browser is alive and answers")
    }

    /// Calls a method and waits for its result.
    fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.number += 1;
        let mut command = json!({"id": self.number, "method": method});
        command["params"] = parameters;
        if let Some(session) = &self.session {
            command["sessionId"] = session.as_str().into();
        }
        self.commands.write_all(&[command.to_string().as_bytes(), b"\0"].concat()).unwrap();
        loop {
            let mut message = self.message();
            if message["id"] == self.number {
                assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                return message["result"].take();
            }
            self.events.push(message);
        }
    }

    /// Opens a page in a window of this width and waits until it has loaded.
    fn open(&mut self, page: &Path, width: u32) {
        let size = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", size);
        self.events.clear();
        self.call("Page.navigate", json!({"url": format!("file://{}", page.display())}));
        while !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let message = self.message();
            self.events.push(message);
        }
    }

    /// The value of an expression.
    fn value(&mut self, expression: &str) -> Value {
        let asked = json!({"expression": expression, "returnByValue": true});
        let mut result = self.call("Runtime.evaluate", asked);
        assert!(result["exceptionDetails"].is_null(), "{expression}: {}", result["exceptionDetails"]);
        result["result"]["value"].take()
    }

    /// Presses a key with this name and code.
    fn press(&mut self, key: &str, code: u32) {
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code});
            if key == "Enter" && kind == "keyDown" {
                // The text that the key types, which a button waits for.
                event["text"] = "\r".into();
            }
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// Errors of the page, and its requests to a network.
    fn complaints(&mut self) -> Vec<String> {
        // A round trip, after which all earlier events have arrived.
        self.value("1");
        let bad = |event: &Value| match event["method"].as_str().unwrap_or_default() {
            "Runtime.exceptionThrown" | "Log.entryAdded" => true,
            "Runtime.consoleAPICalled" => event["params"]["type"] == "error",
            "Network.requestWillBeSent" => {
                let address = event["params"]["request"]["url"].as_str().unwrap_or_default();
                !address.starts_with("data:") && !address.starts_with("file:")
            }
            _ => false,
        };
        self.events.iter().filter(|event| bad(event)).map(Value::to_string).collect()
    }

    /// Saves a screenshot of the page, for people to look at.
    fn keep(&mut self, name: &str) {
        use base64::prelude::{BASE64_STANDARD, Engine};
        let height = self.value("document.documentElement.scrollHeight");
        let width = self.value("innerWidth");
        let clip = json!({"x": 0, "y": 0, "width": width, "height": height, "scale": 1});
        let asked = json!({"captureBeyondViewport": true, "clip": clip});
        let shot = self.call("Page.captureScreenshot", asked)["data"].as_str().unwrap().to_owned();
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pages");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{name}.png")), BASE64_STANDARD.decode(shot).unwrap()).unwrap();
    }
}

/// Checks what must hold for every page.
fn check(browser: &mut Browser, page: &Path, name: &str) {
    for (width, scheme) in [(1200, "light"), (1200, "dark"), (400, "light")] {
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        browser.call("Emulation.setEmulatedMedia", media);
        browser.open(page, width);
        assert_eq!(browser.value("innerWidth"), width);
        let needed = browser.value("document.scrollingElement.scrollWidth").as_u64().unwrap();
        assert!(needed <= u64::from(width), "{name} needs {needed} of {width} pixels");
        browser.keep(&format!("{name}-{width}-{scheme}"));
        assert_eq!(browser.complaints(), Vec::<String>::new(), "{name}");
    }
    let without = "document.querySelectorAll('img:not([alt]), img[alt=\"\"]').length";
    assert_eq!(browser.value(without), 0, "{name}: pictures without words");
    assert_eq!(browser.value("document.querySelectorAll('h1').length"), 1);
    let leaps = "(() => { let last = 0; return [...document.querySelectorAll('h1, h2, h3')].filter(heading => {
        const level = Number(heading.tagName[1]), leap = level > last + 1; last = level; return leap; }).length; })()";
    assert_eq!(browser.value(leaps), 0, "{name}: headings leave a level out");

    // Every control can be reached with the tab key alone.
    let usable =
        "(() => [...document.querySelectorAll('a[href], button, input, select, summary, [tabindex=\"0\"]')]
        .filter(one => one.checkVisibility() && !one.disabled))()";
    let count = browser.value(&format!("(window.usable = {usable}).length")).as_u64().unwrap();
    assert!(count > 5, "{name}: {count}");
    browser.value("window.reached = new Set(); document.addEventListener('focusin', event => reached.add(event.target)); 1");
    for _ in 0..count + 2 {
        browser.press("Tab", 9);
    }
    let missed =
        browser.value("usable.filter(one => !reached.has(one)).map(one => one.outerHTML.slice(0, 200))");
    assert_eq!(missed, json!([]), "{name}: not reached by the tab key");
}

#[test]
fn pages_work_in_a_browser() {
    let Some(mut browser) = Browser::start("the look of pages") else { return };
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str| folder.path().join(name);
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let often = ["--set", "train.sample_every=1"];
    waxwork(&small_of("cvae-digits", &run("cvae"), &often)).good();
    waxwork(&["evaluate", &text(&run("cvae")), "-n", "50", "--samples", "50"]).good();
    waxwork(&["report", &text(&run("cvae"))]).good();
    waxwork(&small_of("gan-digits", &run("gan"), &often)).good();
    let both = run("both.html");
    waxwork(&["compare", &text(&run("cvae")), &text(&run("gan")), "--html", &text(&both)]).good();
    waxwork(&["rate", &text(&run("gan")), "-n", "3"]).good();

    check(&mut browser, &both, "compare");
    check(&mut browser, &run("cvae").join("report.html"), "report");

    // The arrow keys move the slider.
    let seen = "document.querySelector('.slide:not([hidden])').dataset.step";
    assert_eq!(browser.value(seen), "4");
    browser.value("document.querySelector('.slides input').focus()");
    browser.press("ArrowLeft", 37);
    assert_eq!(browser.value(seen), "3");
    browser.press("Home", 36);
    assert_eq!(browser.value(seen), "1");
    assert_eq!(browser.value("document.querySelector('.slides output').textContent"), "1");

    // Keyboard controls zoom into curves, reset them and read values.
    let shown = "document.querySelector('.chart .drawing').getAttribute('viewBox')";
    let whole = browser.value(shown);
    browser.value("document.querySelector('.chart [data-do=in]').focus()");
    browser.press("Enter", 13);
    let width = |window: Value| window.as_str().unwrap().split(' ').nth(2).unwrap().parse::<f64>().unwrap();
    let closer = browser.value(shown);
    assert_eq!(width(closer), 500.0);
    browser.value("document.querySelector('.chart [data-do=reset]').focus()");
    browser.press("Enter", 13);
    assert_eq!(browser.value(shown), whole);
    browser.value("document.querySelector('.chart .reading input').focus()");
    browser.press("Home", 36);
    let read = browser.value("document.querySelector('.chart output').textContent");
    assert!(read.as_str().unwrap().starts_with("Step 1: loss "), "{read}");

    // The page's own switch takes precedence over the system's colour scheme.
    let ground = "getComputedStyle(document.body).backgroundColor";
    let light = browser.value(ground);
    browser.value("document.querySelector('#theme select').focus()");
    browser.press("End", 35);
    let dark = browser.value(ground);
    assert_ne!(light, dark);
    let media = json!({"features": [{"name": "prefers-color-scheme", "value": "dark"}]});
    browser.call("Emulation.setEmulatedMedia", media);
    assert_eq!(browser.value(ground), dark);
    assert_eq!(browser.complaints(), Vec::<String>::new());

    browser.open(&run("gan").join("rate.html"), 400);
    assert!(browser.value("document.scrollingElement.scrollWidth").as_u64().unwrap() <= 400);
    for _ in 0..3 {
        browser.press("ArrowLeft", 37);
    }
    let said = browser.value("document.getElementById('state').textContent");
    assert!(said.as_str().unwrap().contains("95 % interval"), "{said}");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}
