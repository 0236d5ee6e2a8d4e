// Returns a function that calls the service at this address, such as "https://api.example.com".
// `askPassword` asks the user for the password, and returns null if the user gives up. It is not called
// if the password is not among the factors that help.
// `showLogin` shows the form for signing in.
// `showSetUp` shows the page that sets up a second factor. You need it if an account can be required to have one.
export function service(address, { askPassword, showLogin, showSetUp }) {
  return async function call(method, path, body) {
    const answer = await fetch(address + path, {
      method,
      credentials: "include", // the cookie of the service
      headers: body === undefined ? {} : { "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await answer.text();
    const isJson = (answer.headers.get("content-type") ?? "").includes("json");
    const data = isJson ? JSON.parse(text) : text;
    if (answer.ok) return data;
    const helps = (data.factors ?? ["password"]).includes("password");
    if (data.code === "insufficient_user_authentication" && helps) {
      const password = await askPassword(data);
      if (password !== null) {
        await call("POST", "/auth/reauthenticate", { password });
        return call(method, path, body);
      }
    } else if (data.code === "enrolment_required") {
      showSetUp?.(data);
    } else if (answer.status === 401 && !["invalid_credentials", "insufficient_user_authentication"].includes(data.code)) {
      showLogin(data);
    }
    throw Object.assign(new Error(data.detail ?? "something went wrong"), data, { status: answer.status });
  };
}
