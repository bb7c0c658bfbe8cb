//! Samples a trained model in a browser. The module exports functions whose arguments are only numbers: the
//! page writes bytes into the memory that [`input`] returns, calls a function, and reads what [`output`]
//! points to. Each function that can fail returns whether it succeeded; if not, the output is its message in
//! UTF-8.
//!
//! Sample `i` of a seed is the sample that the command `waxwork sample --seed` numbers `i`, up to rounding: a
//! browser has no fused multiply-add, so the values agree to about seven digits, but not in every bit.

mod sampler;

use std::cell::RefCell;

use sampler::{Failure, Sampler};

thread_local! {
    /// A page has one model, and a browser calls a module from one thread.
    static PAGE: RefCell<Page> = const { RefCell::new(Page { input: Vec::new(), output: Vec::new(), sampler: None }) };
}

/// What is kept between calls.
struct Page {
    input: Vec<u8>,
    output: Vec<u8>,
    sampler: Option<Sampler>,
}

impl Page {
    /// Stores the bytes of `made`, or the message of its failure, as the output.
    fn answer(&mut self, made: Result<Vec<u8>, Failure>) -> bool {
        let succeeded = made.is_ok();
        self.output = made.unwrap_or_else(|failure| failure.to_string().into_bytes());
        succeeded
    }

    fn with_sampler(&mut self, ask: impl FnOnce(&Sampler, &[u8]) -> Result<Vec<u8>, Failure>) -> bool {
        let made = match &self.sampler {
            Some(sampler) => ask(sampler, &self.input),
            None => Err(Failure::NotOpened),
        };
        self.answer(made)
    }
}

fn with_page<T>(act: impl FnOnce(&mut Page) -> T) -> T {
    PAGE.with_borrow_mut(act)
}

/// Makes room for `len` bytes of input, and returns where to write them.
#[expect(unsafe_code, reason = "the page calls it by its name")]
#[unsafe(no_mangle)]
pub extern "C" fn input(len: usize) -> *mut u8 {
    with_page(|page| {
        page.input = vec![0; len];
        page.input.as_mut_ptr()
    })
}

/// Where the output of the last call begins.
#[expect(unsafe_code, reason = "the page calls it by its name")]
#[unsafe(no_mangle)]
pub extern "C" fn output() -> *const u8 {
    with_page(|page| page.output.as_ptr())
}

/// The length of the output of the last call, in bytes.
#[expect(unsafe_code, reason = "the page calls it by its name")]
#[unsafe(no_mangle)]
pub extern "C" fn output_len() -> usize {
    with_page(|page| page.output.len())
}

/// Opens a model. The input is its description, of `description_len` bytes, then its weights as safetensors.
#[expect(unsafe_code, reason = "the page calls it by its name")]
#[unsafe(no_mangle)]
pub extern "C" fn open(description_len: usize) -> bool {
    with_page(|page| {
        let input = std::mem::take(&mut page.input);
        let opened = Sampler::open(&input, description_len);
        let made = opened.map(|sampler| page.sampler = Some(sampler));
        page.answer(made.map(|()| Vec::new()))
    })
}

/// Draws the latents of samples `first`, `first + 1`, … of a seed. The input is the class of each sample as a
/// 32-bit integer. For a model without classes it is empty, and `count` is the number of samples. A
/// `truncation` of 0 means none. The output is `(count, latent_dim)` 32-bit floats.
#[expect(unsafe_code, reason = "the page calls it by its name")]
#[unsafe(no_mangle)]
pub extern "C" fn latents(seed: u64, first: u64, count: usize, truncation: f32) -> bool {
    let truncation = (truncation > 0.0).then_some(truncation);
    with_page(|page| {
        page.with_sampler(|sampler, input| sampler.latents(seed, first, count, truncation, input))
    })
}

/// Generates images. The input is `(count, latent_dim)` latents as 32-bit floats, then the class of each as a
/// 32-bit integer if the model has classes. The output is `(count, height, width, 4)` bytes: red, green, blue and
/// opacity.
#[expect(unsafe_code, reason = "the page calls it by its name")]
#[unsafe(no_mangle)]
pub extern "C" fn generate(count: usize) -> bool {
    with_page(|page| page.with_sampler(|sampler, input| sampler.generate(count, input)))
}

/// Returns `steps` latents on the great circle between two latents. Input and output are 32-bit floats.
#[expect(unsafe_code, reason = "the page calls it by its name")]
#[unsafe(no_mangle)]
pub extern "C" fn between(steps: usize) -> bool {
    with_page(|page| page.with_sampler(|sampler, input| sampler.between(steps, input)))
}
