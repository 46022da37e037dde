//! From generation to generation: a start, a file that changes, changes by call.

use super::*;
use crate::{
    change::{Change, Context, NewTargetGroup, Ref},
    objects::DifferenceAction,
};

const FILE: &str = r#"
interfaces = ["eth0"]
[[load_balancers]]
name = "edge"
addresses = ["198.18.100.1"]
attributes."load_balancing.cross_zone.enabled" = true
[[load_balancers.listeners]]
protocol = "TCP"
port = 80
target_group = "web"
[[target_groups]]
name = "web"
protocol = "TCP"
port = 8080
tags = { team = "net" }
targets = [{ address = "198.19.1.2" }, { address = "198.19.1.3", port = 81, weight = 2 }]
[[target_groups]]
name = "open"
protocol = "TCP"
port = 8080
"#;

const NOW: &str = "2026-11-23T10:00:00Z";

fn file(text: &str) -> Document {
    Document::parse(text, "lbd.toml").unwrap()
}

fn start(kept: Option<Kept>, text: &str) -> Store {
    Store::open(kept, file(text), NOW).unwrap().0
}

fn changed(store: &Store, change: Change) -> Store {
    let mut draft = store.draft();
    draft.apply(&change, &Context { host: &store.host, now: NOW }).unwrap();
    draft.settle(&store.host).unwrap();
    store.with_draft(draft)
}

fn group_by_call(name: &str) -> Change {
    let new = serde_json::json!({ "name": name, "protocol": "TCP", "port": 9000 });
    Change::CreateTargetGroup(serde_json::from_value::<NewTargetGroup>(new).unwrap())
}

fn register(group: &str, address: &str) -> Change {
    let changes = serde_json::json!({ "register": [{ "address": address }] });
    let target_group = Ref::Name(group.into());
    Change::ChangeTargets { target_group, changes: serde_json::from_value(changes).unwrap() }
}

fn names(store: &Store) -> Vec<&str> {
    store.objects.target_groups.iter().map(|group| group.name.as_str()).collect()
}

fn targets(store: &Store, group: &str) -> Vec<String> {
    store.objects.target_group(group).unwrap().targets.iter().map(|row| row.address.to_string()).collect()
}

#[test]
fn a_start_goes_on_where_the_last_one_ended() {
    let (first, is_new) = Store::open(None, file(FILE), NOW).unwrap();
    assert!(is_new && first.generation == 1);
    assert_eq!(*first.config, expected_of_objects(file(FILE).config().unwrap()));
    let store = changed(&changed(&first, group_by_call("mine")), register("open", "198.19.1.9"));
    assert_eq!(store.generation, 3);

    let kept = serde_json::from_str(&serde_json::to_string(&store.to_keep()).unwrap()).unwrap();
    let (again, is_new) = Store::open(Some(kept), file(FILE), "2027-01-01T00:00:00Z").unwrap();
    assert!(!is_new);
    assert_eq!((again.generation, &again.objects, &again.config), (3, &store.objects, &store.config));
}

/// A file says by leaving out targets that calls register them; objects have targets, if only none.
fn expected_of_objects(mut config: Config) -> Config {
    config.target_groups.iter_mut().for_each(|group| group.registrar = crate::config::Registrar::File);
    config
}

#[test]
fn a_file_that_has_changed_takes_what_is_its_own() {
    let store = changed(&start(None, FILE), group_by_call("mine"));
    let store = changed(&changed(&store, register("open", "198.19.1.9")), register("web", "198.19.1.9"));
    let ids = |store: &Store| store.objects.target_group("open").map(|group| group.id);
    // What calls have changed of declared objects goes back, what they have made stays, open groups keep their targets.
    let text = FILE.replace("port = 81", "port = 82");
    let next = start(Some(store.to_keep()), &text);
    assert_eq!(names(&next), ["web", "open", "mine"]);
    assert_eq!(
        (targets(&next, "web"), targets(&next, "open")),
        (vec!["198.19.1.2".into(), "198.19.1.3".into()], vec!["198.19.1.9".into()])
    );
    assert_eq!((ids(&next), next.generation), (ids(&store), store.generation + 1));
    // What the file does not name any more goes.
    let text = FILE.split("[[target_groups]]\nname = \"open\"").next().unwrap();
    assert_eq!(names(&start(Some(next.to_keep()), text)), ["web", "mine"]);
}

#[test]
fn applying_what_is_in_force_changes_nothing() {
    let store = changed(&start(None, FILE), group_by_call("mine"));
    assert_eq!(changed(&store, Change::Apply(file(FILE))).generation, store.generation);
    assert_eq!(store.differences(&file(FILE), NOW).unwrap(), []);
    let exported = store.export().unwrap();
    let of_export = file(&exported);
    assert_eq!(of_export.config().unwrap(), *store.config, "{exported}");
    // What calls have made would be the file's.
    let taken: Vec<_> =
        store.differences(&of_export, NOW).unwrap().into_iter().map(|row| (row.object, row.key)).collect();
    assert_eq!(taken, [("target group mine".into(), Some("owner".into()))]);
    let declared = changed(&store, Change::Apply(of_export));
    assert_eq!(declared.config, store.config);
    assert_eq!(changed(&declared, Change::Apply(file(&exported))).generation, declared.generation);
}

#[test]
fn an_export_tells_no_secret_of_a_key() {
    let keys = "[elbv2]\nlisten = \"[::1]:9180\"\nkeys = [{ id = \"AKID\", secret = \"0123456789abcdef\" }]\n\n[[target_groups]]";
    let text = FILE.replacen("[[target_groups]]", keys, 1);
    let secret = "[selection]\nsecret = \"00112233445566778899aabbccddeeff\"\n[[target_groups]]";
    let exported = start(None, &text.replacen("[[target_groups]]", secret, 1)).export().unwrap();
    assert!(!exported.contains("0123456789abcdef") && !exported.contains("00112233"), "{exported}");
    assert!(exported.contains("Left out") && file(&exported).config().is_ok(), "{exported}");
}

#[test]
fn what_calls_have_made_on_a_files_object_keeps_that() {
    let listener = Change::CreateListener(crate::change::NewListener {
        load_balancer: Ref::Name("edge".into()),
        protocol: crate::config::Protocols::Tcp,
        port: 81,
        forward: crate::change::ForwardRequest {
            target_groups: vec![(Ref::Name("open".into()), 1)],
            stickiness: false,
        },
        attributes: Default::default(),
        tags: Default::default(),
    });
    let store = changed(&start(None, FILE), listener);
    let other = FILE.split("[[load_balancers]]").next().unwrap().to_owned() + "target_groups = []";
    let next = start(Some(store.to_keep()), &other);
    let lb = &next.objects.load_balancers[0];
    let ports: Vec<u16> = lb.listeners.iter().map(|row| row.port).collect();
    assert_eq!((lb.declared, ports, names(&next)), (false, vec![81], vec!["open"]));
}

#[test]
fn a_file_that_declares_nothing_is_not_applied() {
    let store = start(None, FILE);
    for nothing in ["", "interfaces = [\"eth0\"]"] {
        let change = Change::Apply(file(nothing));
        let refused = store.draft().apply(&change, &Context { host: &store.host, now: NOW }).unwrap_err();
        assert!(refused.error.contains("declares nothing"), "{}", refused.error);
    }
    let emptied = changed(&store, Change::Apply(file("load_balancers = []\ntarget_groups = []")));
    assert_eq!(*emptied.objects, Objects::default());
}

#[test]
fn a_difference_names_object_and_key() {
    let store = start(None, FILE);
    let text = FILE.replace("weight = 2", "weight = 3").replace("name = \"open\"", "name = \"shut\"");
    let rows = store.differences(&file(&text), NOW).unwrap();
    let row = |row: &Difference| {
        (row.action, row.object.clone(), row.key.clone(), row.from.clone(), row.to.clone())
    };
    let (change, add, remove) = (DifferenceAction::Change, DifferenceAction::Add, DifferenceAction::Remove);
    let expected = [
        (
            change,
            "target web/198.19.1.3:81".into(),
            Some("weight".into()),
            Some("2".into()),
            Some("3".into()),
        ),
        (remove, "target group open".into(), None, None, None),
        (add, "target group shut".into(), None, None, None),
    ];
    let mut rows: Vec<_> = rows.iter().map(row).collect();
    rows.sort_by_key(|row| expected.iter().position(|expected| expected == row));
    assert_eq!(rows, expected);
}

#[test]
fn a_file_of_objects_alone_can_be_applied() {
    let store = start(None, FILE);
    let objects = FILE.replace("interfaces = [\"eth0\"]", "").replace("port = 81", "port = 82");
    let next = changed(&store, Change::Apply(file(&objects)));
    assert_eq!(next.generation, store.generation + 1);
    let mut draft = store.draft();
    let bad = Change::Apply(file(&objects.replace("port = 82", "port = 0")));
    let refusal = draft.apply(&bad, &Context { host: &store.host, now: NOW }).unwrap_err();
    assert_eq!(refusal.path.as_deref(), Some("target_groups[0].targets[1].port"));
    assert!(
        refusal.error.starts_with("lbd.toml:16: target_groups[0].targets[1].port: found 0"),
        "{}",
        refusal.error
    );
}

#[test]
fn what_was_made_by_call_must_go_with_the_file() {
    let store = changed(&start(None, FILE), register("open", "198.19.1.9"));
    let text = FILE.replace("198.18.100.1", "198.19.1.9");
    let error = Store::open(Some(store.to_keep()), file(&text), NOW).unwrap_err();
    assert!(error.starts_with("objects made by call do not go with lbd.toml any more: "), "{error}");
}
