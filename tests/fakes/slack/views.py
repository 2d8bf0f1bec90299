"""Modals and the App Home."""

from __future__ import annotations

from .blocks import check_view
from .records import Json, SlackErrorResponse, new_id
from .workspace import Workspace


def views_open(workspace: Workspace, args: Json) -> Json:
    workspace.use_trigger(args.get("trigger_id", ""))
    view = args["view"]
    check_view(view)
    if view["type"] != "modal":
        raise SlackErrorResponse("invalid_arguments")
    data = {**view, "id": new_id("V"), "hash": "1"}
    workspace.views.append(data)
    return {"view": data}


def views_publish(workspace: Workspace, args: Json) -> Json:
    check_view(args["view"])
    if args["user_id"] not in workspace.people:
        raise SlackErrorResponse("user_not_found")
    workspace.homes[args["user_id"]] = args["view"]
    return {"view": {**args["view"], "id": new_id("V")}}
