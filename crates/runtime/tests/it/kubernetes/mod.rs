//! The client side of Kubernetes against a real one, built by `scripts/kubernetes.sh` and started by `scripts/cluster/mod.rs`.

mod access;
#[path = "../../../../../scripts/cluster/mod.rs"]
mod cluster;
mod driver;
mod imports;
mod pods;
mod scaling;
mod watching;

/// Objects of the tests.
mod objects {
    /// A Deployment of pods that sleep, labelled `app: NAME`.
    pub(super) fn deployment(namespace: &str, name: &str, replicas: u32) -> String {
        format!(
            "apiVersion: apps/v1
kind: Deployment
metadata: {{ name: {name}, namespace: {namespace}, labels: {{ app: {name} }} }}
spec:
  replicas: {replicas}
  selector: {{ matchLabels: {{ app: {name} }} }}
  template:
    metadata: {{ labels: {{ app: {name} }} }}
    spec:
      terminationGracePeriodSeconds: 5
      containers:
      - name: web
        image: {image}
        imagePullPolicy: Never
        command: [httpd, -f, -p, '8080', -h, /www]
        ports: [{{ name: http, containerPort: 8080 }}]
        readinessProbe: {{ httpGet: {{ path: /, port: http }}, periodSeconds: 1 }}
        resources: {{ requests: {{ cpu: 10m, memory: 16Mi }}, limits: {{ memory: 32Mi }} }}
        env:
        - {{ name: PASSWORD, value: hunter2 }}
        - {{ name: TOKEN, valueFrom: {{ secretKeyRef: {{ name: api, key: token, optional: true }} }} }}
",
            image = super::cluster::image::IMAGE
        )
    }

    /// A HorizontalPodAutoscaler for a Deployment.
    pub(super) fn autoscaler(namespace: &str, name: &str, target: &str) -> String {
        format!(
            "apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {{ name: {name}, namespace: {namespace} }}
spec:
  minReplicas: 1
  maxReplicas: 5
  scaleTargetRef: {{ apiVersion: apps/v1, kind: Deployment, name: {target} }}
  metrics:
  - {{ type: Resource, resource: {{ name: cpu, target: {{ type: Utilization, averageUtilization: 80 }} }} }}
"
        )
    }

    /// As much of a metrics server as its client sees: the same answers, kept by the API server itself.
    pub(super) const METRICS: &str = "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: { name: pods.metrics.k8s.io, annotations: { api-approved.kubernetes.io: unapproved } }
spec:
  group: metrics.k8s.io
  scope: Namespaced
  names: { kind: PodMetrics, plural: pods, singular: podmetrics, listKind: PodMetricsList }
  versions:
  - name: v1beta1
    served: true
    storage: true
    schema: { openAPIV3Schema: { type: object, x-kubernetes-preserve-unknown-fields: true } }
";

    /// What a pod uses, as a metrics server tells it.
    pub(super) const POD_METRICS: &str = "apiVersion: metrics.k8s.io/v1beta1
kind: PodMetrics
metadata: { name: shop-1, namespace: keda }
timestamp: '2026-01-01T00:00:00Z'
window: 10.5s
containers: [{ name: web, usage: { cpu: 250000000n, memory: 32Mi } }]
";

    /// As much of KEDA as its client sees.
    pub(super) const KEDA: &str = "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: { name: scaledobjects.keda.sh }
spec:
  group: keda.sh
  scope: Namespaced
  names: { kind: ScaledObject, plural: scaledobjects, singular: scaledobject, listKind: ScaledObjectList }
  versions:
  - name: v1alpha1
    served: true
    storage: true
    schema: { openAPIV3Schema: { type: object, x-kubernetes-preserve-unknown-fields: true } }
";
}
