//! An overlay that runs: podman plays its pods, and this translates what podman does not know.

use std::{
    fs,
    path::PathBuf,
    process::Stdio,
    sync::atomic::{AtomicUsize, Ordering},
};

use base64::prelude::{BASE64_STANDARD, Engine};
use natter_test_support::{leak, until};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{process::Command, time::Instant};

use crate::{
    Ingress, Manifests, Workload,
    containers::{podman, try_podman},
    manifests::{list, name_of, text},
};

const NETWORK: &str = "natter";
/// The network of the pods: a part of the one that kind uses by default.
const SUBNET: &str = "10.244.0.0/24";
/// This machine, as the pods see it: the ingress is here.
const INGRESS: &str = "10.244.0.1";
/// How often a Job's pod is tried. The manifests allow more tries, for clusters that start slowly.
const JOB_TRIES: usize = 5;
/// The suffix of the name of a Secret's second copy, from which environment variables are set.
const FOR_VARIABLES: &str = "-variables";

pub struct Cluster {
    manifests: Manifests,
    /// What is given to `podman kube play`.
    folder: TempDir,
    pub ingress: Ingress,
    pods: Vec<Pod>,
    /// How many pods of Deployments have been started.
    count: usize,
}

#[derive(Clone, Debug)]
struct Pod {
    name: String,
    /// The Deployment or StatefulSet that it is of.
    of: String,
    address: String,
}

impl Cluster {
    /// A cluster without pods: the network, the ingress, the secrets, the ConfigMaps and the volumes.
    pub async fn start(overlay: &str) -> Self {
        let manifests = Manifests::build(overlay);
        podman(&["network", "create", "--subnet", SUBNET, NETWORK]).await;
        let cluster = Self {
            ingress: Ingress::start(&manifests).await,
            manifests,
            folder: TempDir::with_prefix("natter-k8s-").expect("a temporary folder"),
            pods: Vec::new(),
            count: 0,
        };
        cluster.make_secrets().await;
        for config_map in cluster.manifests.of_kind("ConfigMap") {
            let path = cluster.config_map(name_of(config_map));
            fs::write(path, config_map.to_string()).expect("it is ours");
        }
        let claims: Vec<Value> = cluster
            .manifests
            .of_kind("PersistentVolumeClaim")
            .cloned()
            .collect();
        for claim in claims {
            cluster.play(&claim, &[]).await;
        }
        cluster
    }

    /// The public URL.
    pub fn url(&self) -> String {
        self.ingress.url()
    }

    /// Starts the pod of a StatefulSet of one, or starts it again, and waits until it is ready.
    pub async fn start_stateful_set(&mut self, name: &str) {
        let set = self.manifests.named("StatefulSet", name);
        let pod_name = format!("{name}-0");
        let mut pod = self.workload("StatefulSet", name).pod(&pod_name);
        // A volume for each claim of the pod.
        for claim in list(&set["spec"]["volumeClaimTemplates"]) {
            let claim = name_of(claim);
            let volume = json!({
                "name": claim,
                "persistentVolumeClaim": {"claimName": format!("{claim}-{pod_name}")},
            });
            pod["spec"]["volumes"]
                .as_array_mut()
                .expect("it has others")
                .push(volume);
        }
        // The headless Service of its name.
        let network = format!("{NETWORK}:alias={name}");
        self.run_pod(pod, name, &["--network", &network]).await;
    }

    /// Stops the pod of a StatefulSet and starts another with its volumes.
    pub async fn restart_stateful_set(&mut self, name: &str) {
        let position = self.pods.iter().position(|pod| pod.of == name);
        let pod = self.pods.remove(position.expect("it runs"));
        self.stop(&pod).await;
        self.start_stateful_set(name).await;
    }

    /// Runs a Job until it succeeds, at most `JOB_TRIES` times; what its last pod printed.
    pub async fn job(&self, name: &str) -> String {
        self.job_as(name, name).await
    }

    /// The same with a name of its own, to run one several times at once.
    pub async fn job_as(&self, name: &str, pod_name: &str) -> String {
        let workload = self.workload("Job", name);
        self.run_to_success(workload.pod(pod_name)).await
    }

    /// Runs a CronJob once.
    pub async fn cron_job(&self, name: &str) -> String {
        self.run_to_success(self.workload("CronJob", name).pod(name))
            .await
    }

    /// The smoke test from outside.
    pub async fn smoke(&self) -> String {
        let name = "natter-smoke";
        let mut pod = self.workload("CronJob", name).pod(name);
        // The operator's setting: where the ingress is.
        let url = format!("http://{INGRESS}:{}", self.ingress.port());
        pod["spec"]["containers"][0]["args"] = json!(["smoke", "--url", url]);
        self.run_to_success(pod).await
    }

    async fn run_to_success(&self, mut pod: Value) -> String {
        pod["spec"]["restartPolicy"] = json!("Never");
        let name = name_of(&pod).to_owned();
        let mut printed = String::new();
        for _ in 0..JOB_TRIES {
            // If an init container fails, `podman kube play` fails.
            let played = self.try_play(&pod, &["--network", NETWORK]).await;
            let mut is_done = played.is_ok();
            printed = played.err().unwrap_or_default();
            for container in containers(&pod) {
                let container = format!("{name}-{}", text(&container["name"]));
                let waited = try_podman(&["wait", &container]).await;
                is_done &= waited.status.success() && waited.stdout.trim_ascii() == b"0";
                let logs = try_podman(&["logs", &container]).await;
                printed += &String::from_utf8_lossy(&logs.stdout);
                printed += &String::from_utf8_lossy(&logs.stderr);
            }
            podman(&["pod", "rm", "--force", "--ignore", &name]).await;
            if is_done {
                return printed;
            }
        }
        panic!("{name} does not succeed:\n{printed}");
    }

    /// Starts as many pods of a Deployment as it has replicas, and lets its Service send to them.
    pub async fn start_deployment(&mut self, name: &str) {
        let replicas = &self.manifests.named("Deployment", name)["spec"]["replicas"];
        for _ in 0..replicas.as_u64().expect("a number") {
            self.start_replica(name).await;
        }
    }

    /// A rolling update of a Deployment: for each pod a new one is started before the old one is
    /// stopped. `minReadySeconds` is left out: it only spreads the reconnections of clients.
    pub async fn rollout(&mut self, name: &str) {
        let old: Vec<Pod> = self
            .pods
            .iter()
            .filter(|pod| pod.of == name)
            .cloned()
            .collect();
        for pod in old {
            self.start_replica(name).await;
            self.pods.retain(|other| other.name != pod.name);
            let (stopped, ()) = tokio::join!(self.stop(&pod), self.withdraw(&pod));
            let code = stopped.as_deref();
            assert_eq!(code, Some("0"), "{} did not finish in its grace", pod.name);
        }
    }

    /// Waits until a pod that was told to stop is unready, checks that it still serves, and then
    /// removes it from its Service's endpoints.
    async fn withdraw(&self, pod: &Pod) {
        until("it is unready", || async {
            (!self.is_ready(pod).await).then_some(())
        })
        .await;
        let answer = reqwest::get(format!("http://{}:8080/nothing/", pod.address)).await;
        let status = answer.map(|answer| answer.status().as_u16());
        assert_eq!(status.ok(), Some(404), "{} serves no more", pod.name);
        self.publish(&pod.of);
    }

    async fn start_replica(&mut self, name: &str) {
        self.count += 1;
        let pod_name = format!("{name}-{}", self.count);
        let pod = self.workload("Deployment", name).pod(&pod_name);
        self.run_pod(pod, name, &["--network", NETWORK]).await;
        self.publish(name);
    }

    /// Lets the ingress send to the pods of a Deployment that run now.
    fn publish(&self, name: &str) {
        let pods = self.pods.iter().filter(|pod| pod.of == name);
        let addresses: Vec<String> = pods.map(|pod| pod.address.clone()).collect();
        self.ingress.set_endpoints(name, &addresses);
    }

    async fn run_pod(&mut self, pod: Value, of: &str, arguments: &[&str]) {
        let name = name_of(&pod).to_owned();
        if let Err(error) = self.try_play(&pod, arguments).await {
            panic!("{name} is not played: {error}");
        }
        let infra = podman(&["pod", "inspect", "--format", "{{.InfraContainerID}}", &name]).await;
        let address = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let address = podman(&["inspect", "--format", address, &infra]).await;
        let pod = Pod {
            name,
            of: of.to_owned(),
            address,
        };
        let give_up = Instant::now() + 3 * natter_test_support::PATIENCE;
        while !self.is_ready(&pod).await {
            let log = self.log(&pod).await;
            assert!(
                Instant::now() < give_up,
                "{} is not ready:\n{log}",
                pod.name
            );
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        self.pods.push(pod);
    }

    /// The readiness probe of the manifest.
    async fn is_ready(&self, pod: &Pod) -> bool {
        let template = self
            .manifests
            .workloads()
            .find(|workload| workload.name == pod.of && workload.kind != "Service")
            .map(|workload| workload.template);
        let container = &template.expect("it has one")["spec"]["containers"][0];
        let probe = &container["readinessProbe"];
        if let Some(command) = probe["exec"]["command"].as_array() {
            let container = format!("{}-{}", pod.name, text(&container["name"]));
            let mut arguments = vec!["exec", container.as_str()];
            arguments.extend(command.iter().map(text));
            return try_podman(&arguments).await.status.success();
        }
        let name = &probe["httpGet"]["port"];
        let port = list(&container["ports"]).find(|port| port["name"] == *name);
        let port = &port.expect("it is named")["containerPort"];
        let url = format!(
            "http://{}:{port}{}",
            pod.address,
            text(&probe["httpGet"]["path"])
        );
        let answer = reqwest::get(url).await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// Ends a pod as the kubelet does; the exit code of its container.
    async fn stop(&self, pod: &Pod) -> Option<String> {
        let workload = self.manifests.workloads().find(|one| one.name == pod.of);
        let spec = &workload.expect("it has one").template["spec"];
        let grace = spec["terminationGracePeriodSeconds"].to_string();
        let name = text(&spec["containers"][0]["name"]);
        let container = format!("{}-{name}", pod.name);
        podman(&["stop", "--time", &grace, &container]).await;
        let code = podman(&["inspect", "--format", "{{.State.ExitCode}}", &container]).await;
        let log = self.log(pod).await;
        let lines: Vec<String> = log.lines().map(str::to_owned).collect();
        assert_eq!(leak(&lines), None, "{} logged what it must not", pod.name);
        podman(&["pod", "rm", "--force", "--time=0", &pod.name]).await;
        Some(code)
    }

    async fn log(&self, pod: &Pod) -> String {
        let logs = try_podman(&["pod", "logs", &pod.name]).await;
        String::from_utf8_lossy(&[logs.stdout, logs.stderr].concat()).into_owned()
    }

    fn workload(&self, kind: &str, name: &str) -> Workload<'_> {
        let mut workloads = self.manifests.workloads();
        let found = workloads.find(|one| one.kind == kind && one.name == name);
        found.unwrap_or_else(|| panic!("there is no {kind} {name}"))
    }

    fn config_map(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("ConfigMap-{name}.yaml"))
    }

    /// The secrets of `deploy/secrets --kubernetes`.
    async fn make_secrets(&self) {
        let secrets = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/secrets");
        let mut command = Command::new(secrets);
        command.arg("--kubernetes").stdin(Stdio::null());
        let output = command.output().await.expect("Python is there");
        let made: Value = serde_json::from_slice(&output.stdout).expect("JSON is YAML");
        for secret in list(&made["items"]) {
            // podman 4.3 mounts a Secret with its values still in base64, and sets no variables
            // from it. So there are two copies, as podman reads them: for files a Secret with
            // decoded values, for variables the bare map of values.
            let plain = secret["data"].as_object().into_iter().flatten();
            let plain = plain.map(|(key, value)| (key.clone(), json!(decoded(text(value)))));
            let name = name_of(secret);
            let plain: serde_json::Map<String, Value> = plain.collect();
            self.create_secret(name, &json!({"data": plain})).await;
            let for_variables = format!("{name}{FOR_VARIABLES}");
            self.create_secret(&for_variables, &secret["data"]).await;
        }
    }

    async fn create_secret(&self, name: &str, content: &Value) {
        let path = self.folder.path().join(name);
        fs::write(&path, content.to_string()).expect("it is ours");
        podman(&["secret", "create", name, &path.to_string_lossy()]).await;
    }

    async fn play(&self, object: &Value, arguments: &[&str]) {
        let played = self.try_play(object, arguments).await;
        played.unwrap_or_else(|error| panic!("{} is not played: {error}", name_of(object)));
    }

    async fn try_play(&self, object: &Value, arguments: &[&str]) -> Result<(), String> {
        let mut object = object.clone();
        if object["kind"] == "Pod" {
            translate(&mut object);
        }
        let file = format!("{}-{}.yaml", text(&object["kind"]), name_of(&object));
        let path = self.folder.path().join(file);
        fs::write(&path, object.to_string()).expect("it is ours");
        let path = path.to_string_lossy();
        let config_maps = self.manifests.of_kind("ConfigMap").map(|config_map| {
            let path = self.config_map(name_of(config_map));
            format!("--configmap={}", path.display())
        });
        let config_maps: Vec<String> = if object["kind"] == "Pod" {
            config_maps.collect()
        } else {
            Vec::new()
        };
        let mut all = vec!["kube", "play"];
        all.extend(config_maps.iter().map(String::as_str));
        all.extend(arguments);
        all.push(&path);
        let output = try_podman(&all).await;
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }
}

/// Removes or translates what podman does not know. Probes are asked by this crate, and rules about
/// nodes have no meaning on one machine.
fn translate(pod: &mut Value) {
    let name = name_of(pod).to_owned();
    // Kept when they are done, so that what they printed can be read.
    let kept = json!({"io.podman.annotations.init.container.type": "always"});
    pod["metadata"]["annotations"] = kept;
    let spec = pod["spec"].as_object_mut().expect("a pod has one");
    for unknown in [
        "serviceAccountName",
        "topologySpreadConstraints",
        "affinity",
    ] {
        spec.remove(unknown);
    }
    // Kubernetes lets every user write to an emptyDir, podman only root. A new volume belongs to
    // the first user who mounts it, so each emptyDir becomes one.
    let volumes = spec.get_mut("volumes").and_then(Value::as_array_mut);
    for volume in volumes.into_iter().flatten() {
        if volume["emptyDir"].is_object() {
            static COUNT: AtomicUsize = AtomicUsize::new(0);
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let claim = json!({"claimName": format!("empty-{count}")});
            *volume = json!({"name": volume["name"], "persistentVolumeClaim": claim});
        }
    }
    for kind in ["initContainers", "containers"] {
        for container in spec
            .get_mut(kind)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            let container = container.as_object_mut().expect("a container");
            for unknown in [
                "startupProbe",
                "readinessProbe",
                "livenessProbe",
                "lifecycle",
                // podman would publish the ports on this machine.
                "ports",
            ] {
                container.remove(unknown);
            }
            let variables = container.get_mut("env").and_then(Value::as_array_mut);
            for variable in variables.into_iter().flatten() {
                if let Some(name) = variable["valueFrom"]["secretKeyRef"]["name"].as_str() {
                    let name = format!("{name}{FOR_VARIABLES}");
                    variable["valueFrom"]["secretKeyRef"]["name"] = json!(name);
                }
            }
            if let Some(arguments) = container.get_mut("args") {
                let filled = arguments.to_string().replace("$(POD_NAME)", &name);
                *arguments = serde_json::from_str(&filled).expect("it was JSON");
            }
        }
    }
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    let spec = &pod["spec"];
    list(&spec["initContainers"]).chain(list(&spec["containers"]))
}

fn decoded(base64: &str) -> String {
    let bytes = BASE64_STANDARD.decode(base64).expect("it is base64");
    String::from_utf8(bytes).expect("a text")
}
