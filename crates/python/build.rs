//! Tells the linker of macOS that the interpreter, which loads this library, has what the library does not define.

fn main() {
    pyo3_build_config::add_extension_module_link_args();
}
