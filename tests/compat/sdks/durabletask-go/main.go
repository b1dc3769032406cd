// The scenarios of ../../README.md with the published github.com/microsoft/durabletask-go.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/microsoft/durabletask-go/backend"
	"github.com/microsoft/durabletask-go/client"
	"github.com/microsoft/durabletask-go/task"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

func main() {
	if os.Args[1] == "worker" {
		if err := work(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	report := drive(os.Args[2], os.Args[3])
	line, _ := json.Marshal(report)
	fmt.Println(string(line))
	if report["ok"] == false {
		os.Exit(1)
	}
}

func work() error {
	hub, err := connect()
	if err != nil {
		return err
	}
	registry := task.NewTaskRegistry()
	for name, each := range workflows {
		if err := registry.AddOrchestratorN(name, each); err != nil {
			return err
		}
	}
	for name, each := range activities {
		if err := registry.AddActivityN(name, each); err != nil {
			return err
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := hub.StartWorkItemListener(ctx, registry); err != nil {
		return err
	}
	fmt.Println("READY")
	<-ctx.Done()
	return nil
}

func drive(name, prefix string) facts {
	if gap, ok := gaps[name]; ok {
		return facts{"unsupported": gap}
	}
	hub, err := connect()
	if err != nil {
		return failed(err)
	}
	run, ok := scenarios[name]
	if !ok {
		return failed(fmt.Errorf("no scenario %q", name))
	}
	report, err := run(context.Background(), hub, prefix)
	if err != nil {
		return failed(err)
	}
	if report == nil {
		report = facts{}
	}
	report["ok"] = true
	return report
}

func connect() (*client.TaskHubGrpcClient, error) {
	address := net.JoinHostPort(os.Getenv("COMPAT_HOST"), os.Getenv("COMPAT_PORT"))
	connection, err := grpc.Dial(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	return client.NewTaskHubGrpcClient(connection, backend.DefaultLogger()), nil
}

func failed(err error) facts {
	return facts{"ok": false, "error": err.Error()}
}
