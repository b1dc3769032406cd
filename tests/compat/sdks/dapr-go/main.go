// The scenarios of ../../README.md with the published github.com/dapr/go-sdk.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/dapr/go-sdk/workflow"
)

func main() {
	if os.Args[1] == "worker" {
		if err := serve(); err != nil {
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

func serve() error {
	worker, err := workflow.NewWorker()
	if err != nil {
		return err
	}
	for _, each := range workflows {
		if err := worker.RegisterWorkflow(each); err != nil {
			return err
		}
	}
	for _, each := range activities {
		if err := worker.RegisterActivity(each); err != nil {
			return err
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := worker.Start(); err != nil {
		return err
	}
	fmt.Println("READY")
	<-ctx.Done()
	return worker.Shutdown()
}

func drive(name, prefix string) facts {
	if gap, ok := gaps[name]; ok {
		return facts{"unsupported": gap}
	}
	client, err := workflow.NewClient()
	if err != nil {
		return failed(err)
	}
	run, ok := scenarios[name]
	if !ok {
		return failed(fmt.Errorf("no scenario %q", name))
	}
	report, err := run(context.Background(), client, prefix)
	if err != nil {
		return failed(err)
	}
	if report == nil {
		report = facts{}
	}
	report["ok"] = true
	return report
}

func failed(err error) facts {
	return facts{"ok": false, "error": err.Error()}
}
