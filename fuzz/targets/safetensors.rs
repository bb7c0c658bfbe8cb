//! Tensor files: weights and images.
#![no_main]

use std::collections::BTreeMap;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use waxwork_core::{DType, Device, ParamSet, Tensor, store};
use waxwork_fuzz::seed;

fuzz_target!(
    init: {
        let one = Tensor::arange(0f32, 6.0, &Device::Cpu).unwrap().reshape((2, 3)).unwrap();
        let two = Tensor::arange(0u32, 3, &Device::Cpu).unwrap();
        let tensors = BTreeMap::from([("images".into(), one), ("labels".into(), two)]);
        seed("safetensors", "two", &store::encode(&tensors).unwrap());
    },
    |bytes: &[u8]| {
        let Ok(tensors) = store::decode(bytes, Path::new("x"), &Device::Cpu) else { return };
        _ = ParamSet::stored(tensors.clone(), &Device::Cpu);
        for tensor in tensors.values() {
            if let Ok(values) = tensor.to_dtype(DType::F32) {
                assert_eq!(values.flatten_all().unwrap().to_vec1::<f32>().unwrap().len(), tensor.elem_count());
            }
        }
    }
);
