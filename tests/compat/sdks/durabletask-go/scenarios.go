package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/microsoft/durabletask-go/api"
	"github.com/microsoft/durabletask-go/client"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	patience = 45 * time.Second
	poll     = 50 * time.Millisecond
)

type facts = map[string]any

type scenario func(context.Context, *client.TaskHubGrpcClient, string) (facts, error)

var scenarios = map[string]scenario{
	"chaining":               driveChaining,
	"fan-out-50":             driveFanOut,
	"child":                  driveChild,
	"timer":                  driveTimer,
	"event-before":           driveEventBefore,
	"event-after":            driveEventAfter,
	"event-timeout":          driveEventTimeout,
	"continue-as-new":        driveContinueAsNew,
	"suspend-resume":         driveSuspendResume,
	"terminate-recursive":    driveTerminate,
	"purge":                  drivePurge,
	"payload-200k":           drivePayload,
	"history-1000":           driveHistory,
	"worker-killed-turn":     driveKilledTurn,
	"worker-killed-activity": driveKilledActivity,
	"server-restarted":       driveRestarted,
}

var gaps = map[string]string{
	"retry-third":     "CallActivity takes no retry policy",
	"retry-exhausted": "CallActivity takes no retry policy",
	"custom-status":   "an orchestrator cannot set a custom status",
	"query-list":      "the client has no call that lists instances",
	"failure-cause":   "the client does not hand out failure details",
}

func driveChaining(ctx context.Context, hub *client.TaskHubGrpcClient, prefix string) (facts, error) {
	id, err := start(ctx, hub, prefix, "chaining", 1)
	if err != nil {
		return nil, err
	}
	return completed(ctx, hub, id, 4)
}

func driveFanOut(ctx context.Context, hub *client.TaskHubGrpcClient, prefix string) (facts, error) {
	id, err := start(ctx, hub, prefix, "fanOut", prefix+"-squares")
	if err != nil {
		return nil, err
	}
	if _, err := completed(ctx, hub, id, 40_425); err != nil {
		return nil, err
	}
	return ran(prefix, map[string]int{"squares": fan})
}

func driveChild(ctx context.Context, hub *client.TaskHubGrpcClient, prefix string) (facts, error) {
	id, err := start(ctx, hub, prefix, "parent", 21)
	if err != nil {
		return nil, err
	}
	return completed(ctx, hub, id, 42)
}

func driveTimer(ctx context.Context, hub *client.TaskHubGrpcClient, prefix string) (facts, error) {
	started := time.Now()
	id, err := start(ctx, hub, prefix, "timer", nil)
	if err != nil {
		return nil, err
	}
	if _, err := completed(ctx, hub, id, "fired"); err != nil {
		return nil, err
	}
	if took := time.Since(started); took < time.Second {
		return nil, fmt.Errorf("fired after %v", took)
	}
	return facts{"seconds": time.Since(started).Seconds()}, nil
}

func driveEventBefore(ctx context.Context, hub *client.TaskHubGrpcClient, prefix string) (facts, error) {
	id, err := start(ctx, hub, prefix, "eventAfterTimer", nil)
	if err != nil {
		return nil, err
	}
	if err := hub.RaiseEvent(ctx, id, "parcel", api.WithEventPayload("early")); err != nil {
		return nil, err
	}
	return completed(ctx, hub, id, "early")
}

func driveEventAfter(ctx context.Context, hub *client.TaskHubGrpcClient, prefix string) (facts, error) {
	id, err := startWaiting(ctx, hub, prefix, "event")
	if err != nil {
		return nil, err
	}
	if err := hub.RaiseEvent(ctx, id, "parcel", api.WithEventPayload("late")); err != nil {
		return nil, err
	}
	return completed(ctx, hub, id, "late")
}

func driveEventTimeout(ctx context.Context, hub *client.TaskHubGrpcClient, prefix string) (facts, error) {
	id, err := start(ctx, hub, prefix, "eventOrTimeout", nil)
	if err != nil {
		return nil, err
	}
	return completed(ctx, hub, id, "timed out")
}

func driveContinueAsNew(ctx context.Context, hub *client.TaskHubGrpcClient, prefix string) (facts, error) {
	id, err := start(ctx, hub, prefix, "collect", []int{})
	if err != nil {
		return nil, err
	}
	for item := 1; item <= events; item++ {
		if err := hub.RaiseEvent(ctx, id, "item", api.WithEventPayload(item)); err != nil {
			return nil, err
		}
	}
	return completed(ctx, hub, id, []int{1, 2, 3, 4, 5})
}

func driveSuspendResume(ctx context.Context, hub *client.TaskHubGrpcClient, prefix string) (facts, error) {
	id, err := startWaiting(ctx, hub, prefix, "event")
	if err != nil {
		return nil, err
	}
	if err := hub.SuspendOrchestration(ctx, id, "a pause"); err != nil {
		return nil, err
	}
	if err := hasStatus(ctx, hub, id, api.RUNTIME_STATUS_SUSPENDED); err != nil {
		return nil, err
	}
	if err := hub.RaiseEvent(ctx, id, "parcel", api.WithEventPayload("kept")); err != nil {
		return nil, err
	}
	time.Sleep(time.Second)
	if err := hasStatus(ctx, hub, id, api.RUNTIME_STATUS_SUSPENDED); err != nil {
		return nil, err
	}
	if err := hub.ResumeOrchestration(ctx, id, "go on"); err != nil {
		return nil, err
	}
	return completed(ctx, hub, id, "kept")
}

func driveTerminate(ctx context.Context, hub *client.TaskHubGrpcClient, prefix string) (facts, error) {
	id, err := startWaiting(ctx, hub, prefix, "family")
	if err != nil {
		return nil, err
	}
	// Recursive, because this client always asks for that.
	if err := hub.TerminateOrchestration(ctx, id, api.WithOutput("stopped")); err != nil {
		return nil, err
	}
	if err := ended(ctx, hub, id, api.RUNTIME_STATUS_TERMINATED, "stopped"); err != nil {
		return nil, err
	}
	state, err := outcome(ctx, hub, api.InstanceID(prefix+"-child"))
	if err == nil && state.RuntimeStatus != api.RUNTIME_STATUS_TERMINATED {
		err = fmt.Errorf("the child is %v", state.RuntimeStatus)
	}
	return nil, err
}

func drivePurge(ctx context.Context, hub *client.TaskHubGrpcClient, prefix string) (facts, error) {
	id, err := start(ctx, hub, prefix, "chaining", 1)
	if err != nil {
		return nil, err
	}
	if _, err := completed(ctx, hub, id, 4); err != nil {
		return nil, err
	}
	if err := hub.PurgeOrchestrationState(ctx, id); err != nil {
		return nil, err
	}
	if _, err := hub.FetchOrchestrationMetadata(ctx, id); !errors.Is(err, api.ErrInstanceNotFound) {
		return nil, fmt.Errorf("a purged instance was found: %v", err)
	}
	if err := hub.PurgeOrchestrationState(ctx, api.InstanceID(prefix+"-unknown")); !errors.Is(err, api.ErrInstanceNotFound) {
		return nil, fmt.Errorf("an unknown instance was purged: %v", err)
	}
	return nil, nil
}

func drivePayload(ctx context.Context, hub *client.TaskHubGrpcClient, prefix string) (facts, error) {
	value := strings.Repeat("aé漢🙂", 50_000)
	id, err := start(ctx, hub, prefix, "payload", value)
	if err != nil {
		return nil, err
	}
	_, err = completed(ctx, hub, id, value)
	return facts{"characters": len([]rune(value))}, err
}

func driveHistory(ctx context.Context, hub *client.TaskHubGrpcClient, prefix string) (facts, error) {
	id, err := start(ctx, hub, prefix, "longRun", nil)
	if err != nil {
		return nil, err
	}
	return completed(ctx, hub, id, long)
}

func driveKilledTurn(ctx context.Context, hub *client.TaskHubGrpcClient, prefix string) (facts, error) {
	return driveKilled(ctx, hub, prefix, "killedTurn", map[string]int{"first": 1, "second": 1})
}

func driveKilledActivity(ctx context.Context, hub *client.TaskHubGrpcClient, prefix string) (facts, error) {
	return driveKilled(ctx, hub, prefix, "killedActivity", map[string]int{"first": 1, "slow": 2})
}

func driveRestarted(ctx context.Context, hub *client.TaskHubGrpcClient, prefix string) (facts, error) {
	id, err := start(ctx, hub, prefix, "restarted", prefix)
	if err != nil {
		return nil, err
	}
	if err := until(ctx, "the first activity", func(context.Context) (bool, error) { return exists(prefix + "-first"), nil }); err != nil {
		return nil, err
	}
	// This SDK has no custom status to see the timer by, so the client gives the turn its time.
	time.Sleep(time.Second)
	at("timer")
	if _, err := completed(ctx, hub, id, "done"); err != nil {
		return nil, err
	}
	return ran(prefix, map[string]int{"first": 1, "second": 1})
}

func driveKilled(
	ctx context.Context, hub *client.TaskHubGrpcClient, prefix, name string, counts map[string]int,
) (facts, error) {
	id, err := start(ctx, hub, prefix, name, prefix)
	if err != nil {
		return nil, err
	}
	if err := until(ctx, "the gate", func(context.Context) (bool, error) { return exists(prefix + "-gate"), nil }); err != nil {
		return nil, err
	}
	at("gate")
	if _, err := completed(ctx, hub, id, "done"); err != nil {
		return nil, err
	}
	return ran(prefix, counts)
}

func start(ctx context.Context, hub *client.TaskHubGrpcClient, prefix, name string, input any) (api.InstanceID, error) {
	id := api.InstanceID(prefix + "-" + name)
	return hub.ScheduleNewOrchestration(ctx, name, api.WithInstanceID(id), api.WithInput(input))
}

func startWaiting(ctx context.Context, hub *client.TaskHubGrpcClient, prefix, name string) (api.InstanceID, error) {
	id, err := start(ctx, hub, prefix, name, prefix)
	if err != nil {
		return "", err
	}
	err = until(ctx, "the wait", func(context.Context) (bool, error) { return exists(prefix + "-waiting"), nil })
	// The ledger tells of the activity before the wait, so the client gives the turn its time.
	time.Sleep(300 * time.Millisecond)
	return id, err
}

func outcome(ctx context.Context, hub *client.TaskHubGrpcClient, id api.InstanceID) (state *api.OrchestrationMetadata, err error) {
	err = until(ctx, "the end of "+string(id), func(ctx context.Context) (bool, error) {
		state, err = hub.WaitForOrchestrationCompletion(ctx, id, api.WithFetchPayloads(true))
		return err == nil, err
	})
	return state, err
}

func completed(ctx context.Context, hub *client.TaskHubGrpcClient, id api.InstanceID, output any) (facts, error) {
	return nil, ended(ctx, hub, id, api.RUNTIME_STATUS_COMPLETED, output)
}

func ended(ctx context.Context, hub *client.TaskHubGrpcClient, id api.InstanceID, wanted api.OrchestrationStatus, output any) error {
	state, err := outcome(ctx, hub, id)
	if err != nil {
		return err
	}
	if state.RuntimeStatus != wanted {
		return fmt.Errorf("%s is %v: %+v", id, state.RuntimeStatus, state.FailureDetails)
	}
	expected, err := json.Marshal(output)
	if err == nil && !sameJSON(state.SerializedOutput, string(expected)) {
		err = fmt.Errorf("output %.200s, not %.200s", state.SerializedOutput, expected)
	}
	return err
}

func hasStatus(ctx context.Context, hub *client.TaskHubGrpcClient, id api.InstanceID, wanted api.OrchestrationStatus) error {
	return until(ctx, "status "+wanted.String(), func(ctx context.Context) (bool, error) {
		state, err := hub.FetchOrchestrationMetadata(ctx, id)
		return err == nil && state.RuntimeStatus == wanted, err
	})
}

func ran(prefix string, counts map[string]int) (facts, error) {
	seen := facts{}
	for name, times := range counts {
		lines, err := count(prefix + "-" + name)
		if err != nil {
			return nil, err
		}
		if lines != times {
			return nil, fmt.Errorf("%s ran %d times, not %d", name, lines, times)
		}
		seen[name] = lines
	}
	return seen, nil
}

// until polls, and goes on while the server is away.
func until(ctx context.Context, what string, condition func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		done, err := condition(ctx)
		if err != nil && !away(err) && ctx.Err() == nil {
			return err
		}
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited %v for %s (%v)", patience, what, err)
		case <-time.After(poll):
		}
	}
}

func away(err error) bool {
	switch status.Code(err) {
	case codes.Canceled, codes.Internal, codes.Unavailable:
		return true
	default:
		return false
	}
}

func sameJSON(one, other string) bool {
	var left, right any
	if json.Unmarshal([]byte(one), &left) != nil || json.Unmarshal([]byte(other), &right) != nil {
		return false
	}
	return fmt.Sprint(left) == fmt.Sprint(right)
}

func at(where string) {
	fmt.Println("AT", where)
}
