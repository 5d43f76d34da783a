//! What could be reached and done in the cluster: containers have what they need and no more,
//! clients reach the gate, Prometheus the metrics, and nothing the application past menshen.

use serde_json::{Value, json};

use super::{
    APPLICATION, Rendered, USER, VARIANTS, Variant, containers, items, number, picks, port_of,
    ports, text,
};

/// A container that may do nothing but run its image, with bounds on its memory.
fn assert_is_confined(container: &Value, variant: &str) {
    let (name, may) = (text(container, "/name"), &container["securityContext"]);
    assert_eq!(may["runAsNonRoot"], true, "{variant}: {name}");
    assert_eq!(may["readOnlyRootFilesystem"], true, "{variant}: {name}");
    assert_eq!(may["allowPrivilegeEscalation"], false, "{variant}: {name}");
    assert_eq!(may["privileged"], Value::Null, "{variant}: {name}");
    assert_eq!(
        may["capabilities"],
        json!({ "drop": ["ALL"] }),
        "{variant}: {name}"
    );
    assert_eq!(
        may["seccompProfile"],
        json!({ "type": "RuntimeDefault" }),
        "{variant}: {name}"
    );
    assert!(
        container["resources"]["requests"]["memory"].is_string(),
        "{variant}: {name}"
    );
    assert!(
        container["resources"]["limits"]["memory"].is_string(),
        "{variant}: {name}"
    );
    let image = text(container, "/image");
    assert!(
        image
            .rsplit_once(':')
            .is_some_and(|(_, tag)| tag != "latest"),
        "{variant}: {image}"
    );
    for mount in items(&container["volumeMounts"]) {
        assert_eq!(
            mount["subPath"],
            Value::Null,
            "{variant}: what is mounted so never changes"
        );
    }
}

#[test]
fn no_container_can_do_more_than_it_needs() {
    let mut seen = 0;
    for variant in &VARIANTS {
        let rendered = Rendered::of(variant.name);
        for deployment in rendered.all("Deployment") {
            let pod = &deployment["spec"]["template"]["spec"];
            for host in ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"] {
                assert_eq!(pod[host], Value::Null, "{}: {host}", variant.name);
            }
            for container in containers(pod) {
                assert_is_confined(container, variant.name);
                seen += 1;
            }
        }
        let (pod, container) = (rendered.pod(variant), rendered.container(variant));
        assert_eq!(
            pod["automountServiceAccountToken"], false,
            "{}",
            variant.name
        );
        assert_eq!(pod["securityContext"]["fsGroup"], USER, "{}", variant.name);
        assert_eq!(
            container["securityContext"]["runAsUser"], USER,
            "{}",
            variant.name
        );
        assert_eq!(
            container["securityContext"]["runAsGroup"], USER,
            "{}",
            variant.name
        );
        assert_eq!(
            container["lifecycle"],
            Value::Null,
            "{}: menshen has no preStop",
            variant.name
        );
        // What is secret is mounted for menshen alone.
        for other in containers(pod).filter(|it| it["name"] != "menshen") {
            let mounted: Vec<_> = items(&other["volumeMounts"])
                .iter()
                .map(|mount| text(mount, "/name"))
                .collect();
            assert!(
                mounted.iter().all(|name| *name == "menshen-socket"),
                "{}: {mounted:?}",
                variant.name
            );
        }
    }
    assert_eq!(seen, 10);
}

fn the_application_listens_where_the_pods_address_does_not_lead(
    rendered: &Rendered,
    variant: &Variant,
    upstream: &str,
) {
    let name = variant.name;
    // No port of the application is named, and it listens where the pod's address does not
    // lead.
    let shop = items(&rendered.pod(variant)["containers"])
        .iter()
        .find(|it| it["name"] == "shop")
        .expect("the shop");
    assert_eq!(ports(shop), [] as [u64; 0], "{name}");
    let listens = text(shop, "/env/0/value");
    assert!(
        upstream == listens || upstream == format!("http://{listens}"),
        "{name}: {upstream} and {listens}"
    );
    assert!(
        listens.starts_with("127.0.0.1:") || listens.starts_with("unix:/run/menshen/"),
        "{name}: {listens}"
    );
}

fn the_application_behind_its_service_hears_menshen_alone(
    rendered: &Rendered,
    variant: &Variant,
    upstream: &str,
) {
    let name = variant.name;
    let labels = &rendered.deployment(variant)["spec"]["template"]["metadata"]["labels"];
    let (shop, behind) = (
        rendered.one("Deployment", "shop"),
        rendered.one("NetworkPolicy", "behind-menshen"),
    );
    let its_labels = &shop["spec"]["template"]["metadata"]["labels"];
    assert!(picks(&behind["spec"]["podSelector"], its_labels), "{name}");
    let rules = items(&behind["spec"]["ingress"]);
    assert_eq!(rules.len(), 1, "{name}");
    let peers = items(&rules[0]["from"]);
    assert_eq!(peers.len(), 1, "{name}");
    assert!(
        picks(&peers[0]["podSelector"], labels) && !picks(&peers[0]["podSelector"], its_labels),
        "{name}"
    );
    let service = rendered.one("Service", "shop");
    assert_eq!(
        upstream,
        format!("http://shop:{}", number(service, "/spec/ports/0/port")),
        "{name}"
    );
    assert_eq!(
        number(service, "/spec/ports/0/targetPort"),
        APPLICATION,
        "{name}"
    );
    assert_eq!(shop["spec"]["replicas"], 2, "the application keeps its own");
}

#[test]
fn clients_reach_the_gate_prometheus_the_metrics_and_nobody_the_application() {
    for variant in &VARIANTS {
        let rendered = Rendered::of(variant.name);
        let (config, name) = (rendered.parsed_config(), variant.name);
        let gate = port_of(config["server"]["listen"][0].as_str().expect("an address"));
        let admin = port_of(config["admin"]["listen"].as_str().expect("an address"));
        let labels = &rendered.deployment(variant)["spec"]["template"]["metadata"]["labels"];
        assert_eq!(ports(rendered.container(variant)), [gate, admin], "{name}");

        // By number: a named port of a native sidecar is not found by every version. To the gate,
        // whichever Service clients use.
        let service = rendered.one(
            "Service",
            if variant.beside_the_application {
                "shop"
            } else {
                "menshen"
            },
        );
        let targets: Vec<_> = items(&service["spec"]["ports"])
            .iter()
            .map(|port| number(port, "/targetPort"))
            .collect();
        assert_eq!(targets, [gate], "{name}");
        assert!(
            picks(
                &json!({ "matchLabels": service["spec"]["selector"] }),
                labels
            ),
            "{name}"
        );

        let policy = rendered.one("NetworkPolicy", "menshen");
        assert!(picks(&policy["spec"]["podSelector"], labels), "{name}");
        assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress"]), "{name}");
        let mut open: Vec<u64> = Vec::new();
        for rule in items(&policy["spec"]["ingress"]) {
            assert!(!items(&rule["from"]).is_empty(), "{name}: from everywhere");
            open.extend(
                items(&rule["ports"])
                    .iter()
                    .map(|port| number(port, "/port")),
            );
        }
        assert_eq!(open, [gate, admin], "{name}");

        let upstream = config["upstream"]["urls"][0].as_str().expect("an address");
        if variant.beside_the_application {
            the_application_listens_where_the_pods_address_does_not_lead(
                rendered, variant, upstream,
            );
        } else {
            the_application_behind_its_service_hears_menshen_alone(rendered, variant, upstream);
        }

        let monitor = rendered.one("PodMonitor", "menshen");
        assert!(picks(&monitor["spec"]["selector"], labels), "{name}");
        let scraped = text(monitor, "/spec/podMetricsEndpoints/0/port");
        let named: Vec<_> = containers(rendered.pod(variant))
            .flat_map(|container| items(&container["ports"]))
            .filter(|port| port["name"] == scraped)
            .map(|port| number(port, "/containerPort"))
            .collect();
        assert_eq!(named, [admin], "{name}: the name is unique");
        assert!(scraped.len() <= 15, "{scraped}");
    }
}
