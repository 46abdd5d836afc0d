//go:build tools

// Package tools names the programs that ../../kubernetes.sh builds, so that go.mod and go.sum pin all they need.
package tools

import (
	_ "go.etcd.io/etcd/server/v3"
	_ "sigs.k8s.io/kwok/cmd/kwok"
	_ "sigs.k8s.io/metrics-server/cmd/metrics-server"
)
