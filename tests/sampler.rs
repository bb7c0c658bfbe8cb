//! The page that makes images in a browser, as far as it needs no browser and no module for one.

use std::fs;

use crate::util::{text, trained, waxwork};

#[test]
fn a_page_needs_a_module_for_browsers() {
    let (folder, run) = trained("cgan-digits");
    let path = |name: &str| folder.path().join(name);
    let export = |more: &[&str]| waxwork(&[&["export", text(&run)], more].concat());
    let (none, other) = (path("none.wasm"), path("other.wasm"));
    fs::write(&other, "<!doctype html>").unwrap();
    export(&["--format", "web", "--wasm", text(&none)]).refused(&["there is no", "none.wasm", "--wasm"]);
    export(&["--format", "web", "--wasm", text(&other)]).refused(&["other.wasm", "not a WebAssembly module"]);
    export(&["--format", "web", "--part", "generator"]).refused(&["--part is for ONNX"]);
    export(&["--wasm", text(&other)]).refused(&["--wasm needs --format web"]);
    assert!(!run.join("sampler.html").exists());
}

/// The page is a file that people open, and the name of a run is whatever its folder is called.
#[cfg(unix)]
#[test]
fn a_page_escapes_the_name_of_its_run() {
    let (folder, run) = trained("cgan-digits");
    let (module, named) = (folder.path().join("empty.wasm"), folder.path().join("<s>&"));
    fs::write(&module, b"\0asm\x01\0\0\0").unwrap();
    fs::rename(&run, &named).unwrap();
    waxwork(&["export", text(&named), "--format", "web", "--wasm", text(&module)]).good();
    let page = fs::read_to_string(named.join("sampler.html")).unwrap();
    assert!(page.contains("<h1>&lt;s&gt;&amp;</h1>") && !page.contains("<s>"));
    // Nothing but the page itself is loaded.
    assert!(page.contains("content=\"default-src 'none'; img-src data:; style-src "));
    assert!(page.contains("<option value=\"9\">"), "a class of the model");
}
