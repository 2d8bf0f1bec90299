"""Every error name that Slack is known to say, by method, and each method's tier.

The names and tiers are those of the method reference (docs.slack.dev/reference/methods/METHOD), as
scraped on 2026-08-20 by github.com/slack-ruby/slack-api-ref. What is said in practice and stands
on no page is in `OBSERVED`, with who published it. The double says no other name.
"""

from __future__ import annotations

METHODS: dict[str, frozenset[str]] = {
    method: frozenset(names.split())
    for method, names in {
        "": """
            access_denied accesslimited account_inactive deprecated_endpoint ekm_access_denied
            enterprise_is_restricted fatal_error invalid_arg_name invalid_array_arg
            invalid_charset invalid_form_data invalid_post_type is_bot method_deprecated
            missing_post_type missing_scope no_permission not_allowed_token_type not_authed
            org_login_required ratelimited request_timeout service_unavailable team_added_to_org
            token_expired token_revoked two_factor_setup_required unknown_method
            """,
        "chat.postMessage": """
            app_access_restricted as_user_not_supported attachment_payload_limit_exceeded
            cannot_reply_to_message channel_not_found draft_already_deleted draft_already_sent
            draft_has_conflict draft_not_found duplicate_channel_not_found
            duplicate_message_not_found invalid_blocks invalid_blocks_format
            invalid_metadata_format invalid_metadata_schema is_archived markdown_text_conflict
            message_limit_exceeded messages_tab_disabled metadata_must_be_sent_from_app
            metadata_too_large missing_file_data msg_blocks_too_long no_text not_in_channel
            rate_limited restricted_action restricted_action_non_threadable_channel
            restricted_action_read_only_channel restricted_action_thread_locked
            restricted_action_thread_only_channel send_on_behalf_not_allowed
            slack_connect_canvas_sharing_blocked slack_connect_file_link_sharing_blocked
            slack_connect_lists_sharing_blocked team_not_found too_many_attachments
            too_many_contact_cards
            """,
        "chat.postEphemeral": """
            cannot_reply_to_message channel_not_found invalid_attachments invalid_blocks
            invalid_blocks_format is_archived markdown_text_conflict message_limit_exceeded
            messages_tab_disabled msg_too_long no_text not_in_channel restricted_action
            too_many_attachments user_not_in_channel
            """,
        "chat.update": """
            as_user_not_supported block_mismatch blocked_file_type cant_broadcast_message
            cant_update_message channel_not_found edit_window_closed external_channel_migrating
            file_deleted file_is_deleted file_not_found file_share_limit_reached
            invalid_attachments invalid_blocks invalid_blocks_format invalid_metadata_format
            invalid_metadata_schema is_inactive markdown_text_conflict max_file_sharing_exceeded
            message_limit_exceeded message_not_found metadata_must_be_sent_from_app
            metadata_too_large msg_too_long no_dual_broadcast_content_update no_text
            posting_to_channel_denied slack_connect_blocked_file_type
            slack_connect_canvas_sharing_blocked slack_connect_clip_sharing_blocked
            slack_connect_file_link_sharing_blocked slack_connect_file_upload_sharing_blocked
            streaming_state_conflict team_not_found too_many_attachments unable_to_share_files
            update_failed
            """,
        "chat.delete": """
            cant_delete_message channel_not_found message_not_found
            """,
        "chat.startStream": """
            channel_not_found channel_type_not_supported duplicate_channel_not_found
            duplicate_message_not_found invalid_blocks invalid_blocks_format invalid_chunks
            invalid_metadata_format invalid_metadata_schema is_archived message_limit_exceeded
            messages_tab_disabled messaging_processing_failed metadata_must_be_sent_from_app
            metadata_too_large missing_recipient_team_id missing_recipient_user_id
            msg_blocks_too_long msg_blocks_too_many no_text not_in_channel
            not_subscribed_to_message_stream_stopped rate_limited restricted_action
            restricted_action_non_threadable_channel restricted_action_read_only_channel
            restricted_action_thread_locked restricted_action_thread_only_channel
            slack_connect_canvas_sharing_blocked slack_connect_file_link_sharing_blocked
            slack_connect_lists_sharing_blocked team_not_found user_not_found
            """,
        "chat.appendStream": """
            as_user_not_supported channel_not_found channel_type_not_supported
            duplicate_channel_not_found duplicate_message_not_found invalid_blocks
            invalid_chunks invalid_metadata_format invalid_metadata_schema is_archived
            message_limit_exceeded message_not_found message_not_in_streaming_state
            message_not_owned_by_app messages_tab_disabled messaging_processing_failed
            metadata_must_be_sent_from_app metadata_too_large msg_blocks_too_long
            msg_blocks_too_many no_text not_in_channel rate_limited restricted_action
            restricted_action_non_threadable_channel restricted_action_read_only_channel
            restricted_action_thread_locked restricted_action_thread_only_channel
            slack_connect_canvas_sharing_blocked slack_connect_file_link_sharing_blocked
            slack_connect_lists_sharing_blocked stopped_by_user team_not_found
            too_many_attachments too_many_contact_cards
            """,
        "chat.stopStream": """
            as_user_not_supported attachment_payload_limit_exceeded cannot_reply_to_message
            channel_not_found channel_type_not_supported duplicate_channel_not_found
            duplicate_message_not_found invalid_blocks invalid_chunks invalid_metadata_format
            invalid_metadata_schema is_archived message_limit_exceeded message_not_found
            message_not_in_streaming_state message_not_owned_by_app messages_tab_disabled
            metadata_must_be_sent_from_app metadata_too_large missing_file_data
            msg_blocks_too_long msg_blocks_too_many no_text not_in_channel rate_limited
            restricted_action restricted_action_non_threadable_channel
            restricted_action_read_only_channel restricted_action_thread_locked
            restricted_action_thread_only_channel slack_connect_canvas_sharing_blocked
            slack_connect_file_link_sharing_blocked slack_connect_lists_sharing_blocked
            team_not_found too_many_attachments too_many_contact_cards
            """,
        "assistant.threads.setStatus": """
            channel_not_found invalid_thread_ts reserved_username
            """,
        "assistant.threads.setSuggestedPrompts": """
            channel_not_found invalid_thread_ts
            """,
        "agents.sessions.setStatus": """
            channel_not_found feature_disabled internal_error invalid_status not_authorized
            thread_ts_not_allowed thread_ts_required user_not_found
            """,
        "views.open": """
            duplicate_external_id exchanged_trigger_id expired_trigger_id invalid_trigger_id
            view_too_large
            """,
        "views.publish": """
            duplicate_external_id hash_conflict missing_profile_id not_enabled not_implemented
            view_too_large
            """,
        "files.completeUploadExternal": """
            channel_not_found channels_limit_exceeded file_not_found file_type_not_allowed
            file_update_failed file_uploads_except_images_disabled invalid_blocks
            invalid_channel not_in_channel posting_to_channel_denied
            """,
        "files.getUploadURLExternal": """
            alt_txt_too_large file_type_not_allowed file_upload_size_restricted
            file_uploads_disabled file_uploads_except_images_disabled missing_argument
            snippet_too_large storage_limit_reached unknown_snippet_type unknown_subtype
            """,
        "files.info": """
            canvas_disabled_file_team canvas_disabled_user_team canvas_globally_disabled
            file_deleted file_not_found not_visible slack_connect_canvas_sharing_blocked
            template_not_visible
            """,
        "reactions.add": """
            already_reacted bad_timestamp channel_not_found external_channel_migrating
            invalid_name is_archived message_not_found no_access no_item_specified not_reactable
            thread_locked too_many_emoji too_many_reactions
            """,
        "reactions.remove": """
            bad_timestamp channel_not_found external_channel_migrating file_comment_not_found
            file_not_found invalid_name message_not_found no_access no_item_specified
            no_reaction thread_locked
            """,
        "auth.test": """
            internal_error invalid_auth
            """,
        "bots.info": """
            bot_not_found
            """,
        "tooling.tokens.rotate": "invalid_refresh_token",
        "apps.manifest.export": "invalid_app_id",
        "apps.manifest.update": "invalid_app_id invalid_manifest",
        "users.info": """
            too_many_users user_not_found user_not_visible
            """,
        "users.list": """
            invalid_cursor limit_required missing_argument team_access_not_granted
            """,
        "usergroups.list": """
            invalid_cursor invalid_team missing_argument plan_upgrade_required users_not_found
            """,
        "conversations.replies": """
            channel_not_found invalid_cursor invalid_metadata_filter_keys invalid_ts_latest
            invalid_ts_oldest list_record_comment_fetch_failed
            method_not_supported_for_channel_type thread_not_found
            """,
        "conversations.history": """
            channel_is_limited_access channel_not_found invalid_cursor
            invalid_metadata_filter_keys invalid_ts_latest invalid_ts_oldest not_in_channel
            """,
        "conversations.open": """
            channel_not_found internal_error invalid_user_combination
            method_not_supported_for_channel_type not_enough_users too_many_users user_disabled
            user_not_found user_not_visible users_list_not_supplied
            """,
        "conversations.info": """
            channel_not_found
            """,
        "conversations.members": """
            channel_not_found fetch_members_failed internal_error invalid_cursor invalid_limit
            method_not_supported_for_channel_type team_access_not_granted
            """,
        "users.conversations": """
            invalid_cursor invalid_limit invalid_types method_not_supported_for_channel_type
            """,
        "apps.connections.open": """
            forbidden_team insecure_request internal_error invalid_auth missing_args
            """,
    }.items()
}
"""By method; under "" those that stand on each method's page."""

OBSERVED: dict[str, tuple[str, str]] = {
    "invalid_auth": ("", "the example answers on the methods' pages, as on chat.startStream's"),
    "internal_error": ("", "github.com/slackapi/python-slack-sdk/issues/1403, node-slack-sdk/1305"),
    "invalid_arguments": ("", "github.com/NousResearch/hermes-agent/pull/113698"),
    "invalid_attachments": (
        "chat.postMessage chat.startStream chat.stopStream",
        "docs.slack.dev/reference/block-kit/blocks/table-block",
    ),
    "only_one_table_allowed": (
        "chat.postMessage chat.update",
        "docs.slack.dev/reference/block-kit/blocks/table-block",
    ),
    "msg_too_long": (
        "chat.postMessage chat.startStream chat.appendStream chat.stopStream",
        "github.com/seratch/ChatGPT-in-Slack/issues/102 (posts), CopilotKit/CopilotKit/pull/6064 "
        "and openclaw/openclaw/pull/143882 (streams)",
    ),
}
"""Name → the methods that were seen to say it ("" any), and where that was published."""

TIERS = {1: 1, 2: 20, 3: 50, 4: 100}
"""Calls a minute and workspace (docs.slack.dev/apis/web-api/rate-limits). The pages call the
limits of chat.postMessage, auth.test and assistant.threads.setStatus special: they have no tier."""
METHOD_TIERS = {
    "chat.postEphemeral": 4, "chat.update": 3, "chat.delete": 3,
    "chat.startStream": 2, "chat.appendStream": 4, "chat.stopStream": 2,
    "agents.sessions.setStatus": 3, "assistant.threads.setSuggestedPrompts": 4,
    "views.open": 4, "views.publish": 4,
    "files.completeUploadExternal": 4, "files.getUploadURLExternal": 4, "files.info": 4,
    "reactions.add": 3, "reactions.remove": 2, "users.info": 4, "users.list": 2,
    "usergroups.list": 2,
    "conversations.replies": 3, "conversations.history": 3, "apps.connections.open": 3,
    "conversations.open": 3, "conversations.info": 3, "conversations.members": 4,
    "users.conversations": 3, "bots.info": 3,
}  # fmt: skip


def stands(method: str, error: str) -> bool:
    """Whether this method is known to say that."""
    if error in METHODS[""] or error in METHODS.get(method, ()):
        return True
    where, source = OBSERVED.get(error, ("-", ""))
    return bool(source) and (not where or method in where.split())
