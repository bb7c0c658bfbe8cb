//! For tests: a server on loopback that implements the part of the Hub's API in use here, and misbehaves on
//! request.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

use base64::Engine;
use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// Files of at least this size are described by their SHA-256, as the Hub does for large files.
const LARGE: usize = 1000;

/// A running server. It ends with the process.
#[derive(Clone)]
pub(crate) struct Server {
    /// The value for `HF_ENDPOINT`.
    pub(crate) address: String,
    state: Arc<Mutex<State>>,
}

/// The server's contents and behaviour.
#[derive(Default)]
pub(crate) struct State {
    /// Files by kind and name (`models/owner/name`), then by path.
    pub(crate) repositories: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    /// The token that every request needs.
    pub(crate) token: Option<String>,
    pub(crate) trouble: Option<Trouble>,
    /// Method and path of every request so far, with the range if there was one.
    pub(crate) requests: Vec<String>,
}

/// A fault of the server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Responses break off after this number of bytes.
    BreaksAfter(usize),
    /// Responses have a wrong byte.
    Corrupts,
    /// Ranges are not supported: the server sends whole files.
    KnowsNoRanges,
    /// Every request is answered with this status.
    Refuses(&'static str),
    /// Requests are accepted and never answered.
    Hangs,
}

struct Request {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let server = Self { address, state: Arc::default() };
        let serving = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let serving = serving.clone();
                std::thread::spawn(move || serving.answer(&stream.unwrap()));
            }
        });
        server
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Puts a file into a repository, such as `models/owner/name`.
    pub(crate) fn put(&self, repository: &str, path: &str, contents: impl Into<Vec<u8>>) {
        let mut state = self.state();
        let files = state.repositories.entry(repository.to_owned()).or_default();
        files.insert(path.to_owned(), contents.into());
    }

    fn answer(&self, mut stream: &TcpStream) {
        let Some(request) = read(stream) else { return };
        let range = request.headers.get("range").cloned();
        let (trouble, token) = {
            let mut state = self.state();
            let told = range.as_ref().map_or_else(String::new, |range| format!(" {range}"));
            state.requests.push(format!("{} {}{told}", request.method, request.path));
            (state.trouble, state.token.clone())
        };
        if trouble == Some(Trouble::Hangs) {
            // Block until the client closes the connection.
            let _ = stream.read(&mut [0]);
            return;
        }
        let given = request.headers.get("authorization").map(String::as_str);
        let refused = match trouble {
            Some(Trouble::Refuses(status)) => Some(status),
            _ if token.is_some_and(|token| given != Some(&format!("Bearer {token}"))) => {
                Some("401 Unauthorized")
            }
            _ => None,
        };
        let (status, headers, body) = match refused {
            Some(status) => (status, "Retry-After: 7\r\n".to_owned(), Vec::new()),
            None => self.serve(&request),
        };
        let is_file = status.starts_with('2') && request.path.contains("/resolve/");
        let whole = body.len();
        let range = range.filter(|_| is_file && trouble != Some(Trouble::KnowsNoRanges));
        let (status, mut body) = match range.and_then(|range| parse(&range, whole)) {
            Some(range) => ("206 Partial Content", body[range].to_vec()),
            None => (status, body),
        };
        let length = body.len();
        match trouble {
            Some(Trouble::Corrupts) if is_file && !body.is_empty() => body[0] ^= 1,
            Some(Trouble::BreaksAfter(most)) if is_file => body.truncate(most),
            _ => {}
        }
        let head =
            format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}Connection: close\r\n\r\n");
        let _ = stream.write_all(head.as_bytes());
        if request.method != "HEAD" {
            let _ = stream.write_all(&body);
        }
    }

    fn serve(&self, request: &Request) -> (&'static str, String, Vec<u8>) {
        let path = request.path.split('?').next().unwrap().replace("%2F", "/");
        let mut state = self.state();
        let json = |value: Value| {
            ("200 OK", "Content-Type: application/json\r\n".to_owned(), value.to_string().into_bytes())
        };
        let nothing = ("404 Not Found", String::new(), Vec::new());
        if path == "/api/repos/create" {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            let name =
                format!("{}/{}", body["organization"].as_str().unwrap(), body["name"].as_str().unwrap());
            let key = format!("{}s/{name}", body["type"].as_str().unwrap());
            if state.repositories.contains_key(&key) {
                return ("409 Conflict", String::new(), Vec::new());
            }
            state.repositories.insert(key, BTreeMap::new());
            return json(json!({"url": format!("{}/{name}", self.address)}));
        }
        let key = state.repositories.keys().find(|key| {
            let api = path.strip_prefix("/api/").is_some_and(|rest| rest.starts_with(&format!("{key}/")));
            let plain = key.strip_prefix("models/").unwrap_or(key);
            api || path.starts_with(&format!("/{plain}/resolve/"))
        });
        let Some(key) = key.cloned() else { return nothing };
        let files = state.repositories.get_mut(&key).unwrap();
        let commit = hex(&Sha1::digest(format!("{files:?}")));
        let what = path.strip_prefix(&format!("/api/{key}/")).unwrap_or(&path);
        if what.starts_with("revision/") {
            return json(json!({"id": key, "sha": commit, "siblings": []}));
        }
        if what.starts_with("tree/") {
            return json(files.iter().map(|(path, contents)| entry(path, contents)).collect());
        }
        if what.starts_with("paths-info/") {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            let asked = body["paths"].as_array().unwrap().iter().filter_map(Value::as_str);
            return json(asked.filter_map(|path| Some(entry(path, files.get(path)?))).collect());
        }
        if what.starts_with("preupload/") {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            let asked = body["files"].as_array().unwrap();
            let modes: Value =
                asked.iter().map(|file| json!({"path": file["path"], "uploadMode": "regular"})).collect();
            return json(json!({"files": modes}));
        }
        if what.starts_with("commit/") {
            for line in request.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let line: Value = serde_json::from_slice(line).unwrap();
                if line["key"] == "file" {
                    let contents = line["value"]["content"].as_str().unwrap();
                    let contents = base64::engine::general_purpose::STANDARD.decode(contents).unwrap();
                    files.insert(line["value"]["path"].as_str().unwrap().to_owned(), contents);
                }
            }
            return json(json!({"commitUrl": format!("{}/commit", self.address), "commitOid": commit}));
        }
        let file = path.split("/resolve/").nth(1).unwrap_or_default();
        let found = files.iter().find(|(path, _)| file.ends_with(&format!("/{path}")));
        match found {
            Some((_, contents)) => ("200 OK", format!("X-Repo-Commit: {commit}\r\n"), contents.clone()),
            None => nothing,
        }
    }
}

/// Returns the entry of a file in a listing.
fn entry(path: &str, contents: &[u8]) -> Value {
    let git = Sha1::new_with_prefix(format!("blob {}\0", contents.len())).chain_update(contents).finalize();
    let mut entry = json!({"type": "file", "oid": hex(&git), "size": contents.len(), "path": path});
    if contents.len() >= LARGE {
        let sha256 = hex(&Sha256::digest(contents));
        entry["lfs"] = json!({"oid": sha256, "sha256": sha256, "size": contents.len(), "pointerSize": 130});
    }
    entry
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Parses `bytes=3-9` for a file of `whole` bytes.
fn parse(range: &str, whole: usize) -> Option<std::ops::Range<usize>> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse::<usize>().ok()?);
    (first <= last && last < whole).then_some(first..last + 1)
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { method, path, headers, body })
}
