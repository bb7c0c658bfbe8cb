//! Training from a table in memory gives the bytes of training from a file with the same rows.

use std::path::Path;

use waxwork_core::Device;
use waxwork_data::manifest::MEMORY;
use waxwork_data::table::{Table, TableOptions, clinic};
use waxwork_data::{Dataset, load, memory};
use waxwork_models::{Recipe, TrainingRun};
use waxwork_trainer::{Environment, Stop};

#[test]
fn a_table_in_memory_trains_as_the_file_with_its_rows() {
    // model.safetensors and metrics.jsonl after a few steps.
    let trained = |recipe: &Recipe, data: Dataset, path: &Path| -> [Vec<u8>; 2] {
        let mut run = TrainingRun::new(recipe.clone(), data, &Device::Cpu, None).unwrap();
        let environment = Environment::here("0", &Device::Cpu);
        let folder = run.create_folder(path, &run.info(environment).unwrap(), None).unwrap();
        run.train(&folder, Stop::default(), Vec::new()).unwrap();
        [folder.model(), folder.metrics()].map(|file| std::fs::read(file).unwrap())
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clinic.csv");
    clinic::table(0, 0, 600).unwrap().write(&file).unwrap();
    let settings =
        ["train.steps=2", "train.batch_size=40", "train.log_every=1", "data.table.label=readmitted"];
    let recipe = |name: &str| {
        let of = [format!("data.name={name}")];
        let settings: Vec<String> = settings.iter().map(ToString::to_string).chain(of).collect();
        Recipe::named("cvae-table", &settings).unwrap()
    };
    let mut from_file = recipe("table");
    from_file.data.dir = Some(file.clone());
    let in_memory = recipe(MEMORY);
    let bytes = std::fs::read(&file).unwrap();
    let options = in_memory.data.table.clone().unwrap();
    let table = waxwork_data::table::csv::read_from(Path::new("bytes"), bytes.as_slice(), &options).unwrap();
    let of_memory = memory::table(&in_memory.data, &table, None, &|_, _| ()).unwrap();
    let of_file = load(&from_file.data).unwrap();
    assert_eq!(of_memory.info.identity, of_file.info.identity);
    let path = |name: &str| folder.path().join(name);
    assert_eq!(trained(&in_memory, of_memory, &path("memory")), trained(&from_file, of_file, &path("file")));
    let rows = Table::read(&file, &TableOptions::default()).unwrap();
    assert_eq!(rows.content_hash(), table.content_hash());
}
