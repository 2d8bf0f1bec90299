// Whether this browser is signed in. It is asked while the page's words are still loading.

let answer;

/** Return whether it is, and the ways to sign in. Without an answer, the first request finds out. */
export function ask() {
  answer ??= fetch("/sign-in").then((one) => one.json()).catch(() => {
    answer = undefined;
    return { signed_in: true, ways: [] };
  });
  return answer;
}

/** After a provider sent the browser back, return to where the sign-in began, and tell other tabs. */
export function returnToPlace() {
  if (location.pathname === "/") return;
  localStorage.setItem("confirmed", Date.now());
  history.replaceState(null, "", `/${sessionStorage.getItem("place") ?? ""}`);
  sessionStorage.removeItem("place");
}

ask();
