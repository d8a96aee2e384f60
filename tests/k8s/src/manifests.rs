//! What kustomize makes of an overlay.

use std::{collections::BTreeMap, process::Command};

use serde_json::{Value, json};

use crate::containers::package;

/// The objects of an overlay, in kustomize's order.
pub struct Manifests(pub Vec<Value>);

/// Whatever runs pods.
pub struct Workload<'a> {
    pub kind: &'a str,
    pub name: &'a str,
    /// The pods' template.
    pub template: &'a Value,
}

impl Manifests {
    /// Builds a folder below `k8s/`.
    pub fn build(folder: &str) -> Self {
        Self::parse(&Self::text(folder))
    }

    /// What `kubectl kustomize` prints for a folder below `k8s/`.
    pub fn text(folder: &str) -> String {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../k8s");
        let output = Command::new(package("bin/kubectl"))
            .args(["kustomize", &format!("{root}/{folder}")])
            .output()
            .expect("kubectl is there");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{folder}: {said}");
        String::from_utf8(output.stdout).expect("YAML is UTF-8")
    }

    fn parse(text: &str) -> Self {
        let documents = serde_norway::Deserializer::from_str(text);
        let objects = documents.map(|document| {
            serde::Deserialize::deserialize(document).expect("what kustomize prints is YAML")
        });
        Self(objects.collect())
    }

    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.0.iter().filter(move |object| object["kind"] == kind)
    }

    pub fn named<'a>(&'a self, kind: &'a str, name: &str) -> &'a Value {
        let object = self.of_kind(kind).find(|object| name_of(object) == name);
        object.unwrap_or_else(|| panic!("there is no {kind} {name}"))
    }

    pub fn workloads(&self) -> impl Iterator<Item = Workload<'_>> {
        self.0.iter().filter_map(|object| {
            let kind = object["kind"].as_str()?;
            let template = match kind {
                "Deployment" | "StatefulSet" | "Job" => &object["spec"]["template"],
                "CronJob" => &object["spec"]["jobTemplate"]["spec"]["template"],
                _ => return None,
            };
            Some(Workload {
                kind,
                name: name_of(object),
                template,
            })
        })
    }

    /// The environment of a container; of what comes from a Secret or the pod, only the name.
    pub fn environment(&self, container: &Value) -> BTreeMap<String, Option<String>> {
        let mut environment = BTreeMap::new();
        for source in list(&container["envFrom"]) {
            let name = text(&source["configMapRef"]["name"]);
            let data = self.named("ConfigMap", name)["data"].clone();
            for (name, value) in data.as_object().into_iter().flatten() {
                environment.insert(name.clone(), value.as_str().map(str::to_owned));
            }
        }
        for variable in list(&container["env"]) {
            let name = text(&variable["name"]).to_owned();
            environment.insert(name, variable["value"].as_str().map(str::to_owned));
        }
        environment
    }
}

impl Workload<'_> {
    /// Containers and init containers.
    pub fn containers(&self) -> impl Iterator<Item = &Value> {
        let spec = &self.template["spec"];
        list(&spec["initContainers"]).chain(list(&spec["containers"]))
    }

    /// The template as a Pod of that name.
    pub fn pod(&self, name: &str) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": self.template["metadata"]["labels"]},
            "spec": self.template["spec"],
        })
    }
}

pub(crate) fn name_of(object: &Value) -> &str {
    text(&object["metadata"]["name"])
}

pub(crate) fn text(value: &Value) -> &str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("not a text: {value}"))
}

/// The items of a list; none where there is no list.
pub(crate) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
