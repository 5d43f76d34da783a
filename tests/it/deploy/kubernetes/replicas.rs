//! The variant with several replicas: an update takes none away before its successor is there, and
//! the database has room for all of them. `rolling_update.rs` updates processes by its config.

use serde_json::{Value, json};

use super::{Rendered, VARIANTS, items, number, picks, text};

/// What PostgreSQL accepts as it comes, without what it reserves for superusers.
const CONNECTIONS_OF_POSTGRESQL: u64 = 100 - 3;

#[test]
fn replicas_are_replaced_one_by_one_and_have_nothing_of_their_own() {
    let variant = &VARIANTS[4];
    let rendered = Rendered::of(variant.name);
    let spec = &rendered.deployment(variant)["spec"];
    assert_eq!(
        spec["strategy"],
        json!({ "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 0, "maxSurge": 1 } })
    );
    // The autoscaler alone says how many.
    assert_eq!(spec["replicas"], Value::Null);
    let pod = rendered.pod(variant);
    assert!(
        items(&pod["volumes"])
            .iter()
            .all(|volume| volume["persistentVolumeClaim"].is_null())
    );
    let labels = &spec["template"]["metadata"]["labels"];
    let budget = &rendered.one("PodDisruptionBudget", "menshen")["spec"];
    assert_eq!(budget["maxUnavailable"], 1);
    assert!(picks(&budget["selector"], labels));

    let spread = items(&pod["topologySpreadConstraints"]);
    let keys: Vec<_> = spread.iter().map(|it| text(it, "/topologyKey")).collect();
    assert_eq!(
        keys,
        ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
    );
    for constraint in spread {
        assert!(picks(&constraint["labelSelector"], labels));
        // A cluster of one node or zone runs it too.
        assert_eq!(constraint["whenUnsatisfiable"], "ScheduleAnyway");
    }
}

#[test]
fn the_autoscaler_counts_cpu_and_the_database_has_room_for_its_most() {
    let variant = &VARIANTS[4];
    let rendered = Rendered::of(variant.name);
    let (config, container) = (rendered.parsed_config(), rendered.container(variant));
    let scaler = &rendered.one("HorizontalPodAutoscaler", "menshen")["spec"];
    let target = &scaler["scaleTargetRef"];
    assert_eq!(
        (&target["kind"], &target["name"]),
        (
            &json!("Deployment"),
            &rendered.deployment(variant)["metadata"]["name"]
        )
    );
    let (least, most) = (
        number(scaler, "/minReplicas"),
        number(scaler, "/maxReplicas"),
    );
    assert_eq!(least, 3);
    // It counts in parts of a request, so there has to be one, and the process must be able to
    // exceed it.
    assert_eq!(text(scaler, "/metrics/0/resource/name"), "cpu");
    assert!(number(scaler, "/metrics/0/resource/target/averageUtilization") < 100);
    let request: u64 = text(container, "/resources/requests/cpu")
        .strip_suffix('m')
        .and_then(|count| count.parse().ok())
        .expect("thousandths of a core");
    let whole = |section: &str, key: &str| {
        let value = config[section][key].as_integer().expect("a number");
        u64::try_from(value).expect("a number")
    };
    assert!(request < 1000 * whole("server", "threads"));
    assert!(container["resources"]["limits"]["cpu"].is_null());

    // A Deployment does not count pods that are told to stop: one more becomes such a pod each time
    // that a new one has been ready for `minReadySeconds`, and stays until its requests have ended.
    let surge = 1;
    let seconds = |key: &str| -> u64 {
        let span = config["server"][key].as_str().expect("a span");
        let digits = span.strip_suffix('s').expect("seconds");
        digits.parse().expect("seconds")
    };
    let spec = &rendered.deployment(variant)["spec"];
    let ending = (seconds("unready_grace") + seconds("drain_timeout"))
        .div_ceil(number(spec, "/minReadySeconds"));
    let pods = most + surge + ending;
    assert!(whole("store", "connections") * pods <= CONNECTIONS_OF_POSTGRESQL);
}
