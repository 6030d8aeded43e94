//! Our reading of quantities against the API server's own.
//!
//! Quantities go to the server as CPU requests of pods that are created by dry
//! run: what it takes comes back in its canonical form, rounded up to
//! millicores. What our parser takes must come back as we would write it, and
//! what our parser refuses the server must refuse to read. A negative request
//! is read and then found invalid, which is another answer (422, not 400).

use kube::Client;
use mbcas_core::Quantity;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::support::on_any_cluster;

const SEED: u64 = 20_260_419;
/// Generated texts that our parser takes, and that are not negative.
const TAKEN: usize = 10_000;
/// Generated texts that it refuses, each a request of its own.
const REFUSED: usize = 1_000;
/// Generated negative ones, each a request of its own.
const NEGATIVE: usize = 300;
/// Containers of one pod. The server checks their names against each other.
const BATCH: usize = 250;

/// What people write, and the corners of the grammar.
const TABLE: [&str; 60] = [
    "0",
    "00",
    "-0",
    "+0",
    "1",
    "+1",
    "-1",
    "01",
    "1.",
    ".5",
    "0.5",
    "1.0",
    "1.500",
    "100m",
    "0100m",
    "1000m",
    "1500m",
    "0.1",
    "0.001",
    "0.0005",
    "1n",
    "1u",
    "999999999n",
    "1000001n",
    "1.0001m",
    "1k",
    "1K",
    "1M",
    "1G",
    "1T",
    "1P",
    "1E",
    "10E",
    "1Ki",
    "1.5Ki",
    "1ki",
    "1Mi",
    "1Gi",
    "0.5Gi",
    "1Ti",
    "1Pi",
    "1Ei",
    "8Ei",
    "1e3",
    "1E3",
    "1e",
    "1e-3",
    "1e+3",
    "1e0",
    "12e-4",
    "",
    "m",
    ".",
    "lots",
    "1 ",
    "1mm",
    "1.2.3",
    "--1",
    "½",
    "9223372036854775808",
];

#[test]
fn our_quantities_are_the_api_servers() {
    on_any_cluster("quantities", async |space| {
        let server = Server {
            client: space.client.clone(),
            namespace: space.name.clone(),
        };
        let mut sorted = Sorted::default();
        for text in TABLE {
            // The server's JSON decoder strips white space before it parses.
            sorted.take(text.trim().to_owned());
        }
        figure!("table: {}", sorted.counts());
        let mut faults = server.compare(&sorted).await;

        let generated = generate();
        figure!("generated: {}", generated.counts());
        faults.extend(server.compare(&generated).await);
        assert!(
            faults.is_empty(),
            "{} disagreements:\n{}",
            faults.len(),
            faults.join("\n")
        );
    });
}

/// Texts by what our parser says.
#[derive(Default)]
struct Sorted {
    taken: Vec<String>,
    negative: Vec<String>,
    refused: Vec<String>,
}

impl Sorted {
    fn take(&mut self, text: String) {
        match Quantity::parse(&text) {
            Ok(quantity) if quantity.is_negative() => self.negative.push(text),
            Ok(_) => self.taken.push(text),
            Err(_) => self.refused.push(text),
        }
    }

    fn counts(&self) -> String {
        format!(
            "{} taken, {} negative, {} refused",
            self.taken.len(),
            self.negative.len(),
            self.refused.len()
        )
    }
}

/// As many of each as wanted, always the same ones.
fn generate() -> Sorted {
    let mut random = StdRng::seed_from_u64(SEED);
    let mut sorted = Sorted::default();
    while sorted.taken.len() < TAKEN
        || sorted.refused.len() < REFUSED
        || sorted.negative.len() < NEGATIVE
    {
        sorted.take(if random.random_bool(0.2) {
            noise(&mut random)
        } else {
            number(&mut random)
        });
        sorted.taken.truncate(TAKEN);
        sorted.refused.truncate(REFUSED);
        sorted.negative.truncate(NEGATIVE);
    }
    sorted
}

/// Something that could be a quantity.
fn number(random: &mut StdRng) -> String {
    const SUFFIXES: [&str; 17] = [
        "", "", "n", "u", "m", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Pi", "Ei",
    ];
    let mut text = (*["", "", "", "", "", "", "", "+", "-"]
        .choose(random)
        .unwrap())
    .to_owned();
    let most = if random.random_bool(0.2) { 24 } else { 6 };
    text += &digits(random, most);
    if random.random_bool(0.4) {
        text.push('.');
        text += &digits(random, most / 2);
    }
    if random.random_bool(0.2) {
        text + &format!(
            "{}{}",
            ["e", "E"].choose(random).unwrap(),
            random.random_range(-30..=30)
        )
    } else {
        text + SUFFIXES.choose(random).unwrap()
    }
}

fn digits(random: &mut StdRng, most: usize) -> String {
    let count = random.random_range(0..=most);
    // Runs of zeros decide about suffixes.
    let zero = random.random_bool(0.3);
    let digit = |random: &mut StdRng| {
        if zero && random.random_bool(0.7) {
            0
        } else {
            random.random_range(0..10)
        }
    };
    (0..count).map(|_| digit(random).to_string()).collect()
}

/// Any characters that occur in quantities, in any order. Exponents of four
/// characters and more are left out: the server would work them out.
fn noise(random: &mut StdRng) -> String {
    const ALPHABET: &[u8] = b"0123456789.+-eEinumkKMGTPx";
    let count = random.random_range(1..=8);
    let text: String = (0..count)
        .map(|_| char::from(*ALPHABET.choose(random).unwrap()))
        .collect();
    let exponent = text.rsplit(['e', 'E']).next().unwrap_or_default();
    if exponent.len() < text.len() && exponent.len() > 3 {
        "0x".to_owned()
    } else {
        text
    }
}

/// The API server, asked by dry run.
struct Server {
    client: Client,
    namespace: String,
}

/// Why it took nothing.
struct Refusal {
    code: u16,
    message: String,
}

impl Server {
    /// Every text about which it says something else than our parser.
    async fn compare(&self, sorted: &Sorted) -> Vec<String> {
        let mut faults = Vec::new();
        for batch in sorted.taken.chunks(BATCH) {
            faults.extend(self.compare_taken(batch).await);
        }
        for (texts, code, answer) in [
            (&sorted.negative, 422, "must be greater than or equal to 0"),
            (&sorted.refused, 400, ""),
        ] {
            for text in texts {
                match self.ask(std::slice::from_ref(text)).await {
                    Err(refusal) if refusal.code == code && refusal.message.contains(answer) => {}
                    Err(refusal) => {
                        faults.push(format!(
                            "{text:?}: the server says {} {}",
                            refusal.code, refusal.message
                        ));
                    }
                    Ok(said) => faults.push(format!(
                        "{text:?}: the server takes it as {said:?}, expected {code}"
                    )),
                }
            }
        }
        faults
    }

    /// The same for texts that our parser takes. A batch that is refused is
    /// cut in half until the guilty ones stand alone.
    async fn compare_taken(&self, batch: &[String]) -> Vec<String> {
        match self.ask(batch).await {
            Ok(said) => {
                let pairs = batch.iter().zip(said);
                let wrong = pairs
                    .map(|(text, said)| (text, ours(text), said))
                    .filter(|(_, ours, said)| ours != said);
                wrong
                    .map(|(text, ours, said)| {
                        format!("{text:?}: the server writes {said:?}, we {ours:?}")
                    })
                    .collect()
            }
            Err(refusal) if batch.len() == 1 => {
                vec![format!(
                    "{:?}: we take it, the server says {} {}",
                    batch[0], refusal.code, refusal.message
                )]
            }
            Err(_) => {
                let (left, right) = batch.split_at(batch.len() / 2);
                let mut faults = Box::pin(self.compare_taken(left)).await;
                faults.extend(Box::pin(self.compare_taken(right)).await);
                faults
            }
        }
    }

    /// How it writes each of `texts`.
    async fn ask(&self, texts: &[String]) -> Result<Vec<String>, Refusal> {
        let container = |(number, text): (usize, &String)| json!({"name": format!("c{number}"), "image": "none", "resources": {"requests": {"cpu": text}}});
        let containers: Vec<Value> = texts.iter().enumerate().map(container).collect();
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "quantities"},
            "spec": {"containers": containers},
        });
        let uri = format!("/api/v1/namespaces/{}/pods?dryRun=All", self.namespace);
        let request = http::Request::post(uri).header("content-type", "application/json");
        let request = request.body(serde_json::to_vec(&pod).unwrap()).unwrap();
        match self.client.request::<Value>(request).await {
            Ok(pod) => {
                let containers = pod["spec"]["containers"].as_array().unwrap();
                let cpu = |c: &Value| {
                    c["resources"]["requests"]["cpu"]
                        .as_str()
                        .unwrap()
                        .to_owned()
                };
                Ok(containers.iter().map(cpu).collect())
            }
            Err(kube::Error::Api(status)) => Err(Refusal {
                code: status.code,
                message: status.message.clone(),
            }),
            Err(other) => panic!("{other}"),
        }
    }
}

/// How we would write what the server stores.
fn ours(text: &str) -> String {
    Quantity::parse(text)
        .unwrap()
        .rounded_up_to_milli()
        .canonical()
}
