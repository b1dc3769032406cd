package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/microsoft/durabletask-go/task"
)

const (
	fan    = 50
	events = 5
	long   = 350
)

// forever is a wait for an event without a timeout.
const forever = time.Duration(-1)

type squareInput struct {
	Number int
	Name   string
}

var activities = map[string]task.Activity{
	"addOne": addOne,
	"double": double,
	"echo":   echo,
	"note":   note,
	"square": square,
	"slow":   slow,
	"broken": broken,
}

var workflows = map[string]task.Orchestrator{
	"chaining":        chaining,
	"fanOut":          fanOut,
	"parent":          parent,
	"child":           child,
	"timer":           timer,
	"eventAfterTimer": eventAfterTimer,
	"event":           event,
	"eventOrTimeout":  eventOrTimeout,
	"collect":         collect,
	"family":          family,
	"failing":         failing,
	"payload":         payload,
	"longRun":         longRun,
	"killedTurn":      killedTurn,
	"killedActivity":  killedActivity,
	"restarted":       restarted,
}

func addOne(ctx task.ActivityContext) (any, error) {
	var number int
	err := ctx.GetInput(&number)
	return number + 1, err
}

func double(ctx task.ActivityContext) (any, error) {
	var number int
	err := ctx.GetInput(&number)
	return number * 2, err
}

func echo(ctx task.ActivityContext) (any, error) {
	var value any
	err := ctx.GetInput(&value)
	return value, err
}

func note(ctx task.ActivityContext) (any, error) {
	var name string
	if err := ctx.GetInput(&name); err != nil {
		return nil, err
	}
	return nil, appendLine(name, "ran")
}

func square(ctx task.ActivityContext) (any, error) {
	var input squareInput
	if err := ctx.GetInput(&input); err != nil {
		return nil, err
	}
	return input.Number * input.Number, appendLine(input.Name, "ran")
}

func slow(ctx task.ActivityContext) (any, error) {
	var prefix string
	if err := ctx.GetInput(&prefix); err != nil {
		return nil, err
	}
	if err := appendLine(prefix+"-slow", "ran"); err != nil {
		return nil, err
	}
	return nil, gate(prefix + "-gate")
}

func broken(task.ActivityContext) (any, error) {
	return nil, fmt.Errorf("the parcel is lost: %w", errors.New("the van is full"))
}

func chaining(ctx *task.OrchestrationContext) (any, error) {
	var number int
	if err := ctx.GetInput(&number); err != nil {
		return nil, err
	}
	for range 3 {
		if err := ctx.CallActivity(addOne, task.WithActivityInput(number)).Await(&number); err != nil {
			return nil, err
		}
	}
	return number, nil
}

func fanOut(ctx *task.OrchestrationContext) (any, error) {
	var name string
	if err := ctx.GetInput(&name); err != nil {
		return nil, err
	}
	calls := make([]task.Task, fan)
	for number := range calls {
		calls[number] = ctx.CallActivity(square, task.WithActivityInput(squareInput{number, name}))
	}
	sum := 0
	for _, call := range calls {
		var squared int
		if err := call.Await(&squared); err != nil {
			return nil, err
		}
		sum += squared
	}
	return sum, nil
}

func parent(ctx *task.OrchestrationContext) (any, error) {
	var number int
	if err := ctx.GetInput(&number); err != nil {
		return nil, err
	}
	err := ctx.CallSubOrchestrator(child, task.WithSubOrchestratorInput(number)).Await(&number)
	return number, err
}

func child(ctx *task.OrchestrationContext) (any, error) {
	var number int
	if err := ctx.GetInput(&number); err != nil {
		return nil, err
	}
	err := ctx.CallActivity(double, task.WithActivityInput(number)).Await(&number)
	return number, err
}

func timer(ctx *task.OrchestrationContext) (any, error) {
	return "fired", ctx.CreateTimer(time.Second).Await(nil)
}

func eventAfterTimer(ctx *task.OrchestrationContext) (any, error) {
	if err := ctx.CreateTimer(time.Second).Await(nil); err != nil {
		return nil, err
	}
	var data any
	err := ctx.WaitForSingleEvent("parcel", forever).Await(&data)
	return data, err
}

func event(ctx *task.OrchestrationContext) (any, error) {
	var prefix string
	if err := ctx.GetInput(&prefix); err != nil {
		return nil, err
	}
	if err := ctx.CallActivity(note, task.WithActivityInput(prefix+"-waiting")).Await(nil); err != nil {
		return nil, err
	}
	var data any
	err := ctx.WaitForSingleEvent("parcel", forever).Await(&data)
	return data, err
}

func eventOrTimeout(ctx *task.OrchestrationContext) (any, error) {
	var data any
	err := ctx.WaitForSingleEvent("parcel", time.Second).Await(&data)
	if errors.Is(err, task.ErrTaskCanceled) {
		return "timed out", nil
	}
	return data, err
}

func collect(ctx *task.OrchestrationContext) (any, error) {
	var seen []int
	if err := ctx.GetInput(&seen); err != nil {
		return nil, err
	}
	var item int
	if err := ctx.WaitForSingleEvent("item", forever).Await(&item); err != nil {
		return nil, err
	}
	seen = append(seen, item)
	if len(seen) < events {
		ctx.ContinueAsNew(seen, task.WithKeepUnprocessedEvents())
	}
	return seen, nil
}

func family(ctx *task.OrchestrationContext) (any, error) {
	var prefix string
	if err := ctx.GetInput(&prefix); err != nil {
		return nil, err
	}
	id := task.WithSubOrchestrationInstanceID(prefix + "-child")
	return nil, ctx.CallSubOrchestrator(event, task.WithSubOrchestratorInput(prefix), id).Await(nil)
}

func failing(ctx *task.OrchestrationContext) (any, error) {
	return nil, ctx.CallActivity(broken).Await(nil)
}

func payload(ctx *task.OrchestrationContext) (any, error) {
	var value string
	if err := ctx.GetInput(&value); err != nil {
		return nil, err
	}
	err := ctx.CallActivity(echo, task.WithActivityInput(value)).Await(&value)
	return value, err
}

func longRun(ctx *task.OrchestrationContext) (any, error) {
	number := 0
	for number < long {
		if err := ctx.CallActivity(addOne, task.WithActivityInput(number)).Await(&number); err != nil {
			return nil, err
		}
	}
	return number, nil
}

func killedTurn(ctx *task.OrchestrationContext) (any, error) {
	var prefix string
	if err := ctx.GetInput(&prefix); err != nil {
		return nil, err
	}
	if err := ctx.CallActivity(note, task.WithActivityInput(prefix+"-first")).Await(nil); err != nil {
		return nil, err
	}
	if err := gate(prefix + "-gate"); err != nil {
		return nil, err
	}
	return "done", ctx.CallActivity(note, task.WithActivityInput(prefix+"-second")).Await(nil)
}

func killedActivity(ctx *task.OrchestrationContext) (any, error) {
	var prefix string
	if err := ctx.GetInput(&prefix); err != nil {
		return nil, err
	}
	if err := ctx.CallActivity(note, task.WithActivityInput(prefix+"-first")).Await(nil); err != nil {
		return nil, err
	}
	return "done", ctx.CallActivity(slow, task.WithActivityInput(prefix)).Await(nil)
}

func restarted(ctx *task.OrchestrationContext) (any, error) {
	var prefix string
	if err := ctx.GetInput(&prefix); err != nil {
		return nil, err
	}
	if err := ctx.CallActivity(note, task.WithActivityInput(prefix+"-first")).Await(nil); err != nil {
		return nil, err
	}
	if err := ctx.CreateTimer(3 * time.Second).Await(nil); err != nil {
		return nil, err
	}
	return "done", ctx.CallActivity(note, task.WithActivityInput(prefix+"-second")).Await(nil)
}
