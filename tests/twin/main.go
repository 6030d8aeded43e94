// The twin of mbcas-webhook: the same injection, written the way webhooks are
// usually written. controller-runtime decodes the review and the pod into Go
// types, the handler changes the typed pod, and the patch is what a comparison
// of the whole object before and after finds. `make bench-admission` loads both.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

const (
	agentName   = "mbcas-demand-agent"
	agentImage  = "registry.example.org/mbcas-demand-agent:1.2.3"
	agentPort   = 9465
	agentUser   = int64(65532)
	volumeName  = "mbcas-no-token"
	tokenPath   = "/var/run/secrets/kubernetes.io/serviceaccount"
	originalKey = "mbcas.dev/original"
	outcomeKey  = "mbcas.dev/injection"
)

func main() {
	host := flag.String("host", "127.0.0.1", "address to listen on")
	port := flag.Int("port", 9443, "port to listen on")
	certs := flag.String("certificates", "", "folder with tls.crt and tls.key")
	flag.Parse()
	ctrllog.SetLogger(logr.Discard())

	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		fail(err)
	}
	server := webhook.NewServer(webhook.Options{Host: *host, Port: *port, CertDir: *certs})
	server.Register("/inject", &webhook.Admission{Handler: &injector{admission.NewDecoder(scheme)}})
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := server.Start(ctx); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "twin:", err)
	os.Exit(1)
}

type injector struct{ decoder admission.Decoder }

// Handle validates the annotations and injects the agent.
func (i *injector) Handle(_ context.Context, req admission.Request) admission.Response {
	pod := &corev1.Pod{}
	if err := i.decoder.Decode(req, pod); err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	settings, err := parse(pod.Annotations)
	if err != nil {
		return admission.Denied(err.Error())
	}
	if !wanted(pod, settings) {
		return admission.Allowed("")
	}
	warnings, err := inject(pod, settings)
	if err != nil {
		return admission.Errored(http.StatusInternalServerError, err)
	}
	changed, err := json.Marshal(pod)
	if err != nil {
		return admission.Errored(http.StatusInternalServerError, err)
	}
	return admission.PatchResponseFromRaw(req.Object.Raw, changed).WithWarnings(warnings...)
}

type settings struct {
	enabled        bool
	budget         int64
	minCPU, maxCPU *resource.Quantity
}

func parse(annotations map[string]string) (settings, error) {
	s := settings{enabled: true, budget: 100}
	for key, value := range annotations {
		if !strings.HasPrefix(key, "mbcas.") || strings.HasPrefix(key, "mbcas.dev/") {
			continue
		}
		var err error
		switch key {
		case "mbcas.enabled":
			s.enabled, err = strconv.ParseBool(value)
		case "mbcas.budget":
			s.budget, err = strconv.ParseInt(value, 10, 32)
			if err == nil && s.budget < 1 {
				err = fmt.Errorf("it is below 1")
			}
		case "mbcas.minCPU":
			s.minCPU, err = quantity(value)
		case "mbcas.maxCPU":
			s.maxCPU, err = quantity(value)
		default:
			err = fmt.Errorf("unknown key")
		}
		if err != nil {
			return s, fmt.Errorf("annotation %s=%q is refused: %w", key, value, err)
		}
	}
	if s.minCPU != nil && s.maxCPU != nil && s.minCPU.Cmp(*s.maxCPU) > 0 {
		return s, fmt.Errorf("mbcas.minCPU is above mbcas.maxCPU")
	}
	return s, nil
}

func quantity(value string) (*resource.Quantity, error) {
	q, err := resource.ParseQuantity(value)
	return &q, err
}

// wanted says whether the pod is one that gets an agent.
func wanted(pod *corev1.Pod, s settings) bool {
	if !s.enabled || pod.Spec.HostNetwork || metav1.GetControllerOf(pod) == nil || len(pod.Spec.Containers) == 0 {
		return false
	}
	for _, c := range pod.Spec.InitContainers {
		if c.Name == agentName {
			return false
		}
	}
	resources := pod.Spec.Containers[0].Resources
	request, limit := resources.Requests.Cpu(), resources.Limits.Cpu()
	return !request.IsZero() && request.Cmp(*limit) != 0
}

type original struct {
	Version    int                 `json:"version"`
	Containers map[string]recorded `json:"containers"`
}

type recorded struct {
	Request string `json:"request,omitempty"`
	Limit   string `json:"limit,omitempty"`
}

func inject(pod *corev1.Pod, s settings) ([]string, error) {
	record := original{Version: 1, Containers: map[string]recorded{}}
	for _, c := range pod.Spec.Containers {
		var r recorded
		if q, ok := c.Resources.Requests[corev1.ResourceCPU]; ok {
			r.Request = q.String()
		}
		if q, ok := c.Resources.Limits[corev1.ResourceCPU]; ok {
			r.Limit = q.String()
		}
		record.Containers[c.Name] = r
	}
	text, err := json.Marshal(record)
	if err != nil {
		return nil, err
	}
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	pod.Annotations[outcomeKey] = "injected"
	pod.Annotations[originalKey] = string(text)

	var warnings []string
	app := &pod.Spec.Containers[0]
	if _, limited := app.Resources.Limits[corev1.ResourceCPU]; !limited {
		limit := resource.MustParse("64")
		if s.maxCPU != nil {
			limit = *s.maxCPU
		}
		if app.Resources.Limits == nil {
			app.Resources.Limits = corev1.ResourceList{}
		}
		app.Resources.Limits[corev1.ResourceCPU] = limit
		warnings = append(warnings, fmt.Sprintf("mbcas: container %s had no CPU limit and now has %s (mbcas.maxCPU), "+
			"as Kubernetes resizes a limit but never removes one", app.Name, limit.String()))
	}
	pod.Spec.InitContainers = append(pod.Spec.InitContainers, agent(app.Name))
	pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{
		Name: volumeName, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
	return warnings, nil
}

func agent(subject string) corev1.Container {
	field := func(name, path string) corev1.EnvVar {
		return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{
			FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: path}}}
	}
	list := func(cpu, memory string) corev1.ResourceList {
		return corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	}
	always := corev1.ContainerRestartPolicyAlways
	return corev1.Container{
		Name:            agentName,
		Image:           agentImage,
		ImagePullPolicy: corev1.PullIfNotPresent,
		RestartPolicy:   &always,
		Env: []corev1.EnvVar{
			field("MBCAS_NAMESPACE", "metadata.namespace"),
			field("MBCAS_POD", "metadata.name"),
			{Name: "MBCAS_CONTAINER", Value: subject},
		},
		Ports: []corev1.ContainerPort{{Name: "mbcas-demand", ContainerPort: agentPort, Protocol: corev1.ProtocolTCP}},
		Resources: corev1.ResourceRequirements{
			Requests: list("10m", "16Mi"), Limits: list("200m", "32Mi")},
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: ptr(false),
			Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			Privileged:               ptr(false),
			ReadOnlyRootFilesystem:   ptr(true),
			RunAsGroup:               ptr(agentUser),
			RunAsNonRoot:             ptr(true),
			RunAsUser:                ptr(agentUser),
			SeccompProfile:           &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		VolumeMounts:             []corev1.VolumeMount{{Name: volumeName, MountPath: tokenPath, ReadOnly: true}},
	}
}

func ptr[T any](value T) *T { return &value }
