//! `deploy/kubernetes`: each variant as `kubectl kustomize` renders it. Valid by the schemas of
//! Kubernetes, closed where it must be (`kubernetes/exposure.rs`), and run (`kubernetes/pod.rs`).
//! `kubernetes/replicas.rs` is about the variant with several replicas alone.

mod exposure;
mod pod;
mod replicas;

use std::{collections::BTreeSet, fs, sync::LazyLock};

use serde_json::{Value, json};
use toml_edit::DocumentMut;

use super::{documents, image::USER, items, number, printed, repository, seconds, text, tool};

/// One way to put menshen into a cluster.
struct Variant {
    name: &'static str,
    /// The oldest version of Kubernetes that it is for.
    oldest: &'static str,
    /// Where the container is in the pod.
    list: &'static str,
    /// Who else is in it.
    beside_the_application: bool,
    /// Whether the store is on a volume of the pod; otherwise it is in a database.
    is_embedded: bool,
}

const VARIANTS: [Variant; 5] = [
    Variant {
        name: "unix-socket",
        oldest: "1.30",
        list: "initContainers",
        beside_the_application: true,
        is_embedded: true,
    },
    Variant {
        name: "loopback",
        oldest: "1.30",
        list: "initContainers",
        beside_the_application: true,
        is_embedded: true,
    },
    Variant {
        name: "old-cluster",
        oldest: "1.27",
        list: "containers",
        beside_the_application: true,
        is_embedded: true,
    },
    Variant {
        name: "standalone",
        oldest: "1.27",
        list: "containers",
        beside_the_application: false,
        is_embedded: true,
    },
    Variant {
        name: "replicas",
        oldest: "1.27",
        list: "containers",
        beside_the_application: false,
        is_embedded: false,
    },
];

/// The newest version of Kubernetes whose schemas are at hand.
const NEWEST: &str = "1.37";

/// The port of the application of `examples/app`.
const APPLICATION: u64 = 3000;

/// Each variant, rendered once for all tests.
static RENDERED: LazyLock<Vec<Rendered>> = LazyLock::new(|| {
    VARIANTS
        .iter()
        .map(|variant| Rendered::make(variant.name))
        .collect()
});

/// A variant as it reaches the cluster.
struct Rendered {
    yaml: String,
    documents: Vec<Value>,
}

impl Rendered {
    fn of(variant: &str) -> &'static Self {
        let place = VARIANTS
            .iter()
            .position(|known| known.name == variant)
            .expect("a variant");
        &RENDERED[place]
    }

    fn make(variant: &str) -> Self {
        let yaml = printed(
            tool("kubectl")
                .arg("kustomize")
                .arg(repository("deploy/kubernetes/examples").join(variant)),
        );
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), &yaml).expect("a file");
        Self {
            documents: documents("yaml", file.path()),
            yaml,
        }
    }

    fn all<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.documents
            .iter()
            .filter(move |document| document["kind"] == kind)
    }

    fn one(&self, kind: &str, name: &str) -> &Value {
        let mut found = self
            .documents
            .iter()
            .filter(|it| it["kind"] == kind && it["metadata"]["name"] == name);
        let one = found
            .next()
            .unwrap_or_else(|| panic!("no {kind} {name} in {}", self.yaml));
        assert!(found.next().is_none());
        one
    }

    /// The Deployment that has menshen.
    fn deployment(&self, variant: &Variant) -> &Value {
        self.one(
            "Deployment",
            if variant.beside_the_application {
                "shop"
            } else {
                "menshen"
            },
        )
    }

    fn pod(&self, variant: &Variant) -> &Value {
        &self.deployment(variant)["spec"]["template"]["spec"]
    }

    /// The container of menshen.
    fn container(&self, variant: &Variant) -> &Value {
        let mut found = items(&self.pod(variant)[variant.list])
            .iter()
            .filter(|it| it["name"] == "menshen");
        let one = found
            .next()
            .unwrap_or_else(|| panic!("no menshen in {}", self.yaml));
        assert!(found.next().is_none());
        one
    }

    /// The config that it reads.
    fn config(&self) -> &str {
        text(self.one("ConfigMap", "menshen-config"), "/data/config.toml")
    }

    fn parsed_config(&self) -> DocumentMut {
        self.config().parse().expect("TOML")
    }
}

/// All containers of a pod.
fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    items(&pod["initContainers"])
        .iter()
        .chain(items(&pod["containers"]))
}

/// The numbers of a container's ports.
fn ports(container: &Value) -> Vec<u64> {
    items(&container["ports"])
        .iter()
        .map(|port| number(port, "/containerPort"))
        .collect()
}

/// Whether a label selector picks what has these labels.
fn picks(selector: &Value, labels: &Value) -> bool {
    let wanted = selector["matchLabels"].as_object().expect("labels");
    !wanted.is_empty() && wanted.iter().all(|(name, value)| &labels[name] == value)
}

/// The port of an address.
fn port_of(address: &str) -> u64 {
    address
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok())
        .unwrap_or_else(|| panic!("no port in {address}"))
}

#[test]
fn every_variant_is_valid_by_the_schemas_of_its_oldest_and_the_newest_kubernetes() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = |variant: &Variant| dir.path().join(variant.name).with_extension("yaml");
    for variant in &VARIANTS {
        let rendered = Rendered::of(variant.name);
        fs::write(file(variant), &rendered.yaml).expect("a file");
        let kinds: BTreeSet<_> = rendered
            .documents
            .iter()
            .map(|document| text(document, "/kind"))
            .collect();
        let wanted = [
            "ConfigMap",
            "Deployment",
            "NetworkPolicy",
            if variant.is_embedded {
                "PersistentVolumeClaim"
            } else {
                "HorizontalPodAutoscaler"
            },
            "PodDisruptionBudget",
            "PodMonitor",
            "Service",
        ];
        assert_eq!(kinds, BTreeSet::from(wanted), "{}", variant.name);
    }
    for version in BTreeSet::from(VARIANTS.map(|variant| variant.oldest))
        .into_iter()
        .chain([NEWEST])
    {
        let meant = VARIANTS
            .iter()
            .filter(|variant| version == NEWEST || variant.oldest == version);
        printed(
            tool("kubernetes-validate")
                .args(["--strict", "--no-warn", "-k", version])
                .args(meant.map(file)),
        );
    }
    // The operator's definitions, which kubernetes-validate does not have.
    let together = dir.path().join("together.yaml");
    let all: Vec<_> = VARIANTS
        .iter()
        .map(|variant| Rendered::of(variant.name).yaml.as_str())
        .collect();
    fs::write(&together, all.join("---\n")).expect("a file");
    let monitors = documents("operator", &together);
    assert_eq!(
        monitors
            .iter()
            .filter(|document| document["kind"] == "PodMonitor")
            .count(),
        VARIANTS.len()
    );
}

#[test]
fn one_replica_holds_the_store_and_can_be_evicted() {
    for variant in VARIANTS.iter().filter(|variant| variant.is_embedded) {
        let rendered = Rendered::of(variant.name);
        let (spec, name) = (&rendered.deployment(variant)["spec"], variant.name);
        assert_eq!(spec["replicas"], 1, "{name}");
        assert_eq!(spec["strategy"], json!({ "type": "Recreate" }), "{name}");
        let claim = rendered.one("PersistentVolumeClaim", "menshen-data");
        assert_eq!(
            claim["spec"]["accessModes"],
            json!(["ReadWriteOncePod"]),
            "{name}"
        );
        let volumes = items(&rendered.pod(variant)["volumes"]);
        let data = volumes
            .iter()
            .find(|volume| volume["name"] == "menshen-data")
            .expect("a volume");
        assert_eq!(
            text(data, "/persistentVolumeClaim/claimName"),
            "menshen-data",
            "{name}"
        );
        let budget = rendered.one("PodDisruptionBudget", "menshen");
        assert_eq!(budget["spec"]["maxUnavailable"], 1, "{name}");
        assert!(
            picks(
                &budget["spec"]["selector"],
                &spec["template"]["metadata"]["labels"]
            ),
            "{name}"
        );
        let socket = volumes
            .iter()
            .find(|volume| volume["name"] == "menshen-socket");
        assert_eq!(socket.is_some(), variant.beside_the_application, "{name}");
        assert!(
            socket.is_none_or(|socket| socket["emptyDir"]["medium"] == "Memory"),
            "{name}"
        );
    }
}

#[test]
fn what_ends_a_pod_adds_up() {
    // For the application to finish what it began: what gunicorn gives its workers.
    let own_time = 30;
    // For menshen to close its store, and for the kubelet.
    let margin = 5;
    for variant in &VARIANTS {
        let rendered = Rendered::of(variant.name);
        let (pod, config, name) = (
            rendered.pod(variant),
            rendered.parsed_config(),
            variant.name,
        );
        let limit = number(pod, "/terminationGracePeriodSeconds");
        assert_eq!(limit, 60, "{name}");
        let (grace, drain) = (
            seconds(&config, "server", "unready_grace"),
            seconds(&config, "server", "drain_timeout"),
        );
        let menshen = grace + drain;
        if !variant.beside_the_application {
            assert!(grace >= 5 && menshen + margin <= limit, "{name}");
            continue;
        }
        let stop = &items(&pod["containers"])
            .iter()
            .find(|it| it["name"] == "shop")
            .expect("the shop")["lifecycle"]["preStop"];
        if variant.list == "initContainers" {
            // First the application sleeps, then it ends, then menshen is told: one after the
            // other.
            let sleep = number(stop, "/sleep/seconds");
            assert_eq!(grace, 0, "{name}: nobody is left to wait for");
            assert!(
                sleep >= 5 && sleep + own_time + menshen + margin <= limit,
                "{name}"
            );
        } else {
            // Both are told at once: the application is there for as long as menshen forwards, and
            // ends after it.
            let command: Vec<_> = items(&stop["exec"]["command"])
                .iter()
                .filter_map(Value::as_str)
                .collect();
            let ["sleep", sleep] = command[..] else {
                panic!("{command:?}")
            };
            let sleep: u64 = sleep.parse().expect("seconds");
            assert!(
                grace >= 5 && sleep >= menshen && sleep + own_time + margin <= limit,
                "{name}"
            );
        }
    }
}

#[test]
fn the_same_container_is_added_in_every_way() {
    let [socket, _, old, alone, replicas] = &VARIANTS;
    let mut sidecar = Rendered::of(socket.name).container(socket).clone();
    assert_eq!(sidecar["restartPolicy"], "Always");
    sidecar
        .as_object_mut()
        .expect("a container")
        .remove("restartPolicy");
    assert_eq!(&sidecar, Rendered::of(old.name).container(old));
    let mounts = sidecar["volumeMounts"].as_array_mut().expect("mounts");
    mounts.retain(|mount| mount["name"] != "menshen-socket");
    assert_eq!(&sidecar, Rendered::of(alone.name).container(alone));
    // The autoscaler counts in parts of the request, and the store is elsewhere.
    let mut replica = Rendered::of(replicas.name).container(replicas).clone();
    for one in [&mut sidecar, &mut replica] {
        one["resources"]["requests"]["cpu"].take();
        let mounts = one["volumeMounts"].as_array_mut().expect("mounts");
        mounts
            .retain(|mount| mount["name"] != "menshen-data" && mount["name"] != "menshen-database");
    }
    assert_eq!(sidecar, replica);
}

#[test]
fn the_pod_that_restores_has_what_menshen_has() {
    let file = repository("deploy/kubernetes/restore.yaml");
    printed(
        tool("kubernetes-validate")
            .args(["--strict", "-k", NEWEST])
            .arg(&file),
    );
    let pod = &documents("yaml", &file).remove(0)["spec"];
    let alone = &VARIANTS[3];
    let (rendered, restores) = (Rendered::of(alone.name), &pod["containers"][0]);
    for part in ["image", "volumeMounts", "securityContext", "resources"] {
        assert_eq!(restores[part], rendered.container(alone)[part], "{part}");
    }
    for part in ["volumes", "securityContext", "automountServiceAccountToken"] {
        assert_eq!(pod[part], rendered.pod(alone)[part], "{part}");
    }
    assert_eq!(
        (&restores["args"], &restores["stdin"]),
        (&json!(["import", "-"]), &json!(true))
    );
}

/// Somebody's application: an init container, a second container and a volume of its own, and
/// another Deployment that is not meant.
const APPLICATION_OF_OTHERS: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: api, labels: {behind: menshen}}
spec:
  replicas: 3
  strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 1}}
  selector: {matchLabels: {app: api}}
  template:
    metadata: {labels: {app: api}, annotations: {team: api}}
    spec:
      initContainers: [{name: migrate, image: 'api:1', volumeMounts: [{name: files, mountPath: /files}]}]
      containers:
        - {name: web, image: 'api:1', ports: [{containerPort: 8000}], volumeMounts: [{name: files, mountPath: /files}]}
        - {name: logs, image: 'logs:1'}
      volumes: [{name: files, emptyDir: {}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: worker, labels: {app: worker}}
spec:
  selector: {matchLabels: {app: worker}}
  template: {metadata: {labels: {app: worker}}, spec: {containers: [{name: worker, image: 'api:1'}]}}
---
apiVersion: v1
kind: Service
metadata: {name: api, labels: {behind: menshen}}
spec: {selector: {app: api}, ports: [{port: 80, targetPort: 8000}]}
";

#[test]
fn an_application_with_parts_of_its_own_keeps_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let components = repository("deploy/kubernetes/components");
    printed(
        std::process::Command::new("cp")
            .arg("-r")
            .arg(components)
            .arg(dir.path()),
    );
    fs::create_dir(dir.path().join("own")).expect("a directory");
    fs::write(
        dir.path().join("own/application.yaml"),
        APPLICATION_OF_OTHERS,
    )
    .expect("a file");
    for (component, first, second) in [
        ("sidecar", vec!["menshen", "migrate"], vec!["web", "logs"]),
        ("container", vec!["migrate"], vec!["menshen", "web", "logs"]),
    ] {
        let overlay =
            format!("resources: [application.yaml]\ncomponents: [../components/{component}]\n");
        fs::write(dir.path().join("own/kustomization.yaml"), overlay).expect("a file");
        let yaml = printed(tool("kubectl").arg("kustomize").arg(dir.path().join("own")));
        let file = dir.path().join("rendered.yaml");
        fs::write(&file, &yaml).expect("a file");
        printed(
            tool("kubernetes-validate")
                .args(["--strict", "--no-warn", "-k", NEWEST])
                .arg(&file),
        );
        let rendered = Rendered {
            documents: documents("yaml", &file),
            yaml,
        };

        let api = rendered.one("Deployment", "api");
        let pod = &api["spec"]["template"]["spec"];
        let names = |list: &str| -> Vec<&str> {
            items(&pod[list])
                .iter()
                .map(|it| text(it, "/name"))
                .collect()
        };
        assert_eq!(
            (names("initContainers"), names("containers")),
            (first, second),
            "{component}"
        );
        assert!(names("volumes").contains(&"files"), "{component}");
        assert_eq!(
            text(api, "/spec/template/metadata/annotations/team"),
            "api",
            "{component}"
        );
        assert_eq!(
            api["spec"]["strategy"],
            json!({ "type": "Recreate" }),
            "{component}"
        );
        assert_eq!(
            api["spec"]["selector"]["matchLabels"],
            json!({ "app": "api" }),
            "{component}: it cannot be changed"
        );
        let sleeping: Vec<_> = containers(pod)
            .filter(|it| !it["lifecycle"].is_null())
            .map(|it| text(it, "/name"))
            .collect();
        assert_eq!(sleeping, ["web"], "{component}: the first of its own");
        assert_eq!(
            number(rendered.one("Service", "api"), "/spec/ports/0/targetPort"),
            8080,
            "{component}"
        );
        let worker = &rendered.one("Deployment", "worker")["spec"]["template"];
        let alone = json!({ "metadata": { "labels": { "app": "worker" } }, "spec": { "containers": [{ "name": "worker", "image": "api:1" }] } });
        assert_eq!(
            worker, &alone,
            "{component}: what has no label is left alone"
        );
    }
}
