//! NumPy arrays.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use waxwork_core::{DType, Device, Tensor, npy};
use waxwork_fuzz::seed;

fuzz_target!(
    init: {
        let array = Tensor::arange(0f32, 6.0, &Device::Cpu).unwrap().reshape((1, 2, 3)).unwrap();
        let bytes = npy::encode(&array).unwrap();
        seed("npy", "floats", &bytes);
        let halves = String::from_utf8_lossy(&bytes[10..74]).replace("<f4", "|u1").replace("(1, 2, 3)", "(4, 2, 3)");
        seed("npy", "bytes", &[&bytes[..10], halves.as_bytes(), &bytes[74..]].concat());
    },
    |bytes: &[u8]| {
        if let Ok(array) = npy::decode(bytes, Path::new("x")) {
            let values = array.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(values.len(), array.elem_count());
        }
    }
);
