

async def test_only_a_file_that_is_attached_is_said_to_be_included(
    ponte: WebPonte, tab: Page
) -> None:
    await open_commands(ponte, tab, ECHO)
    hint = tab.get_by_text("A file that you attached is included.")
    await expect(tab.locator("#quick-form")).to_be_visible()
    await expect(hint).to_be_hidden()
    await tab.keyboard.press("Escape")
    await expect(tab.locator("#quick-form")).to_be_hidden()
    file = FilePayload(name="a.csv", mimeType="text/csv", buffer=b"a\n1\n")
    await tab.locator("#file").set_input_files(file)
    await expect(tab.locator("#attached li")).to_have_count(1)
    await tab.get_by_role("button", name="Quick commands").click()
    await expect(hint).to_be_visible()
